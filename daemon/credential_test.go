package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// secretive returns a config with a variable from a credential, and the daemon's directory of
// credentials.
func secretive(t *testing.T, control string) (c *config.Config, dir string) {
	t.Helper()
	c, err := config.Parse("/etc/superctl/shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
state = "`+t.TempDir()+`"
control = "`+control+`"
[process.web]
command = "gunicorn shop.wsgi"
[process.web.env]
TOKEN = { credential = "token" }
`))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("hush\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestSecretsAreNotWrittenToADisk(t *testing.T) {
	c, dir := secretive(t, "/proc/shop.sock") // /proc is not writable
	daemon := credentialSource{dir: dir, used: func() ([]supervisor.Plan, error) { return nil, nil }}
	if got, err := daemon.directory(c, nil); err != nil || got != dir {
		t.Errorf("the daemon's own user gets %q, %v", got, err)
	}
	if os.Geteuid() != 0 {
		return // only root runs workers of other users
	}
	_, err := daemon.directory(c, &config.User{Name: "www", Credential: worker.Credential{UID: 33, GID: 33}})
	const want = "credentials for user www: superctl copies them to /proc/shop.credentials, and that is on a disk: " +
		"set control to a path below /run"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestAnUnusableCredentialIsReportedWithItsKey(t *testing.T) {
	c, dir := secretive(t, "/proc/shop.sock")
	none := func() ([]supervisor.Plan, error) { return nil, nil }
	t.Setenv(credentials.Variable, "")
	if err := (credentialSource{dir: dir, used: none}).check(c, nil); err != nil {
		t.Error(err)
	}
	const at = "/etc/superctl/shop.toml:8:1: process.web.env.TOKEN: "
	const advice = `credential "token": not found: add LoadCredential=token:/etc/shop/token to the unit ` +
		`(systemctl edit superctl@shop), then run systemctl restart superctl@shop`
	for says, source := range map[string]credentialSource{
		at + advice: {used: none},
		at + `credential "token": not found: add LoadCredential=token:`: {
			dir: t.TempDir(), used: none,
		},
		at + `credential "token": not available, because no daemon runs that keeps it in /proc/shop.credentials`: {},
	} {
		if err := source.check(c, nil); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%v\nwant %s", err, says)
		}
	}
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("hush\x00"), 0o400); err != nil {
		t.Fatal(err)
	}
	err := (credentialSource{dir: dir, used: none}).check(c, nil)
	if err == nil || !strings.Contains(err.Error(), "has a NUL byte") || strings.Contains(err.Error(), "hush") {
		t.Errorf("%v", err)
	}
}

func TestACommandHasTheLiveCredentialsUnlessTheConfigNowUsesAnother(t *testing.T) {
	c, unit := secretive(t, filepath.Join(t.TempDir(), "shop.sock"))
	t.Setenv(credentials.Variable, "")
	copies := copiesOf(c)
	t.Cleanup(func() {
		if err := copies.Remove(); err != nil {
			t.Error(err)
		}
	})
	daemonCopies := func() (dir string) {
		t.Helper()
		dir, err := copies.Copy(unit, os.Getuid(), os.Getgid())
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	directory := func() string {
		t.Helper()
		env, err := EnvironmentOf(c, releases.Release{Name: "r1", Path: t.TempDir()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range env.List() {
			if dir, ok := strings.CutPrefix(kv, credentials.Variable+"="); ok {
				return dir
			}
		}
		return ""
	}
	live := daemonCopies()
	if err := copies.MarkLive([]string{live}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(unit, "key"), []byte("other\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	newest := daemonCopies()
	if got := directory(); got != live {
		t.Errorf("with the config of the live release: %s", got)
	}
	more, err := config.Parse("/etc/superctl/shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
state = "`+c.State+`"
control = "`+c.Control+`"
[process.web]
command = "gunicorn shop.wsgi"
[env]
KEY = { credential = "key" }
`))
	if err != nil {
		t.Fatal(err)
	}
	c = more
	if got := directory(); got != newest {
		t.Errorf("with a config that uses a credential which the live release lacks: %s", got)
	}
}
