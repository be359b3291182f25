package systemd

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// loadCredential is the drop-in that gives the unit the credential of secret.
const loadCredential = "[Service]\nLoadCredential=secret-key:/etc/superctl/secret-key\n"

// secrets returns the unit's credential as a worker has it: in its environment and in the file.
func (s *Site) secrets(t *testing.T) string {
	t.Helper()
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(
		t.Context(), http.MethodGet, "http://"+s.Address+"/secrets/secret-key", http.NoBody,
	)
	must(t, err)
	resp, err := client.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(text)
}

// secret writes the file that LoadCredential= reads, for root only.
func (s *Site) secret(t *testing.T, value string) {
	t.Helper()
	path := filepath.Join(s.dir, "etc", "secret-key")
	must(t, os.WriteFile(path, []byte(value+"\n"), 0o600))
}

func TestWorkersKeepTheUnitsCredentials(t *testing.T) {
	root, err := os.ReadFile(filepath.Join(sources(), "..", "..", "packaging", "systemd", "examples", "root.conf"))
	must(t, err)
	for name, c := range map[string]struct{ unit, user string }{
		"a daemon of the app's user":              {unit: loadCredential},
		"a daemon of root with workers of others": {unit: string(root) + loadCredential, user: "user = \"shop\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, Options{Units: dropIn(t, c.unit), Django: true}, "r1")
			s.Edit(t, "probation", c.user+"probation")
			s.Edit(t, "[process.web]", "[env]\nSECRET_KEY = { credential = \"secret-key\" }\n\n[process.web]")
			s.secret(t, "first-secret")
			s.Run("systemctl", "start", unit).Want(0)
			s.Superctl("check", "r1").Want(0)
			s.Superctl("switch", "r1").Want(0)
			has := func(when, want string) {
				t.Helper()
				if got, want := s.secrets(t), want+" and "+want+"\n"; got != want {
					t.Errorf("%s: a worker has %q, want %q", when, got, want)
				}
			}
			has("after the start", "first-secret")
			exec := s.Superctl(
				"exec", "--", "python", "-c",
				"import os; print(os.environ['SECRET_KEY'], open(os.environ['CREDENTIALS_DIRECTORY'] + '/secret-key').read())",
			)
			if exec.Want(0).Stdout != "first-secret first-secret\n\n" {
				t.Errorf("exec has %q", exec.Stdout)
			}
			if check := s.Superctl("check").Stdout; !strings.Contains(check, "ok    credentials secret-key") {
				t.Errorf("check says\n%s", check)
			}

			s.Superctl("check", "r1").Want(0)

			s.secret(t, "second-secret")
			workers := s.workers(t)
			s.Run("systemctl", "restart", unit).Want(0)
			if now := s.workers(t); !slices.Equal(now, workers) {
				t.Fatalf("workers %v became %v", workers, now)
			}
			has("adopted by the next daemon", "first-secret")
			s.Run("kill", "-KILL", strconv.Itoa(workers[0])).Want(0)
			harness.Eventually(t, "another worker serves", func() bool {
				return s.workers(t)[0] != workers[0] && s.Status(t).Health == "ok"
			})
			has("started again by the next daemon", "first-secret")
			s.Run("systemctl", "reload", unit).Want(0)
			has("after a reload", "second-secret")
			s.Edit(t, `credential = "secret-key"`, `credential = "other-key"`)
			if r := s.Run("systemctl", "reload", unit); r.Code == 0 {
				t.Error("a reload onto a credential that the unit does not have succeeded")
			}
			s.journalHas(
				t,
				`env.SECRET_KEY: credential "other-key": not found: add LoadCredential=other-key:/etc/shop/other-key to the unit`,
			)
			s.Edit(t, `credential = "other-key"`, `credential = "secret-key"`)

			daemon := s.MainPID(t)
			s.Signal("KILL")
			s.another(t, daemon)
			has("after a crash of the daemon", "second-secret")
			s.Superctl("upgrade").Want(0)
			s.Superctl("reload").Want(0)
			has("after an upgrade and a reload", "second-secret")

			names := s.Superctl("status", "--env").Want(0).Stdout
			if fields := strings.Fields(names[strings.Index(names, "SECRET_KEY"):]); len(fields) < 2 ||
				fields[1] != "credential" {
				t.Errorf("status --env:\n%s", names)
			}
			told := s.Run("grep", "-r", ".", "/var/lib/superctl").Want(0).Stdout
			if !strings.Contains(told, "SECRET_KEY") {
				t.Errorf("the state was not read:\n%s", told)
			}
			told += names + s.Run(
				"journalctl", "--no-pager", "-o", "verbose",
			).Stdout + s.Superctl("status", "--json").Stdout + s.Superctl("history", "--json").Stdout
			for _, value := range []string{"first-secret", "second-secret"} {
				if at := strings.Index(told, value); at >= 0 {
					t.Errorf("%s was told:\n%s", value, told[max(at-200, 0):at+20])
				}
			}
			s.Run("systemctl", "stop", unit).Want(0)
			if left := s.Run("ls", "-A", "/run/superctl").Want(0).Stdout; strings.Contains(left, "credentials") {
				t.Errorf("left in /run/superctl: %s", left)
			}
		})
	}
}

func TestExecHasTheCredentialsOfTheLiveRelease(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, loadCredential)}, "r1")
	must(t, s.Release("r2", apps.Behaviour{Fault: apps.ImportError}))
	s.Edit(t, "[process.web]", "[env]\nSECRET_KEY = { credential = \"secret-key\" }\n\n[process.web]")
	s.secret(t, "first-secret")
	s.Run("systemctl", "start", unit).Want(0)
	s.Superctl("switch", "r1").Want(0)
	has := func(when, want string) {
		t.Helper()
		got := s.Superctl("exec", "--", "sh", "-c", `echo "$SECRET_KEY and $(cat "$CREDENTIALS_DIRECTORY/secret-key")"`)
		if want += " and " + want + "\n"; got.Want(0).Stdout != want {
			t.Errorf("%s: exec has %q, want %q", when, got.Stdout, want)
		}
	}
	s.secret(t, "second-secret")
	s.Run("systemctl", "restart", unit).Want(0)
	has("after a restart, with the same workers", "first-secret")
	s.Superctl("switch", "r2").Want(1)
	has("after a refused switch", "first-secret")
	s.Superctl("reload").Want(0)
	has("after a reload", "second-secret")
}
