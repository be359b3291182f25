package config

import (
	"strings"
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

func TestUsersAndGroupsMayBeNumbers(t *testing.T) {
	c := mustRead(t, "user = \"0\"\n"+minimal+`group = "4321"
listen = ["web"]
[listen.web]
address = "unix:/run/shop/web.sock"
owner = "4321"
group = "4321"
`)
	if u := c.User; u == nil || u.Name != "root" || u.Home != "/root" {
		t.Errorf("the app runs as %+v", u)
	}
	if u := c.Processes[0].User; u == nil || u.Name != "root" || u.Credential.GID != 4321 {
		t.Errorf("the worker runs as %+v", u)
	}
	_, err := Parse("shop.toml", []byte("user = \"4321\"\n"+minimal))
	if err == nil || !strings.HasSuffix(err.Error(), `there is no user "4321" on this machine`) {
		t.Errorf("a worker needs a home and groups: %v", err)
	}
}
