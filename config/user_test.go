package config

import (
	"testing"
)

func TestOnlyARootDaemonMayHaveAnotherUser(t *testing.T) {
	_, err := parse("shop.toml", "/etc/superctl/shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
user = "root"
[process.web]
command = "gunicorn shop.wsgi"
`), 1000)
	const want = `shop.toml:3:1: user = "root": only a daemon that runs as root can start workers as another user; ` +
		`leave it out, and run the daemon as root (User= of the unit)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAProcessCanHaveAnotherGroup(t *testing.T) {
	c := mustRead(t, "user = \"root\"\n"+minimal+"group = \"daemon\"\n")
	u := c.Processes[0].User
	if u == nil || u.Name != "root" || u.Credential.GID == c.User.Credential.GID {
		t.Errorf("the worker runs as %+v, the app as %+v", u, c.User)
	}
}
