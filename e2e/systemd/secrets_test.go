package systemd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// secretsCommand prints a secret, and notes who runs it and whether it could write outside of the app.
const secretsCommand = `#!/bin/sh
if touch /etc/written 2>/dev/null; then etc=writable; else etc=read-only; fi
echo "$(id -un) $etc" >>/srv/shop/asked
echo "VAULT_KEY=$(cat /run/vault)"
`

// value returns the secret in the environment of the first worker.
func (s *Site) value(t *testing.T) string {
	t.Helper()
	environ := s.Run("cat", "/proc/"+strconv.Itoa(s.workers(t)[0])+"/environ").Want(0).Stdout
	for variable := range strings.SplitSeq(environ, "\x00") {
		if value, ok := strings.CutPrefix(variable, "VAULT_KEY="); ok {
			return value
		}
	}
	return ""
}

func TestTheSecretsOfACommandAreKeptInMemoryOnly(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	must(t, os.WriteFile(filepath.Join(s.dir, "etc", "vault"), []byte(secretsCommand), 0o755))
	s.Edit(t, "[process.web]", "[secrets]\ncommand = [\"sh\", \"/etc/superctl/vault\"]\nrequired = [\"VAULT_KEY\"]\n\n[process.web]")
	vault := func(value string) {
		s.Run("sh", "-c", "echo "+value+" >/run/vault").Want(0)
	}
	vault("first-of-the-vault")
	s.Start(t, "r1")
	has := func(when, want string) {
		t.Helper()
		if got := s.value(t); got != want {
			t.Errorf("%s: a worker has %q, want %q", when, got, want)
		}
	}
	has("after the switch", "first-of-the-vault")
	for line := range strings.Lines(s.Run("cat", "/srv/shop/asked").Want(0).Stdout) {
		if line != "shop read-only\n" {
			t.Errorf("the command ran as %q", line)
		}
	}

	// The kept value wins at a start: the vault may be down or have another one.
	vault("second-of-the-vault")
	s.Run("systemctl", "restart", unit).Want(0)
	killed := s.workers(t)[0]
	s.Run("kill", "-KILL", strconv.Itoa(killed)).Want(0)
	harness.Eventually(t, "another worker serves", func() bool { return s.workers(t)[0] != killed && s.Status(t).Health == "ok" })
	has("started by the next daemon", "first-of-the-vault")
	s.Superctl("reload").Want(0).Says("changed VAULT_KEY")
	has("after a reload", "second-of-the-vault")

	disk := s.Run("grep", "-rlE", "(first|second)-of-the-vault", "/etc/superctl", "/var/lib/superctl", "/var/log",
		"/srv/shop")
	if found := strings.TrimSpace(disk.Stdout); found != "" {
		t.Errorf("the secret is in %s", found)
	}
}
