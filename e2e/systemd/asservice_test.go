package systemd

import (
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// snapshot lists the files of the app with their owners and times, except those that a running
// daemon writes.
func (s *Site) snapshot() string {
	return s.Run(
		"find", "/srv/shop", "/var/lib/superctl", "/var/log/superctl", "/run/superctl", "-printf", "%p %u %m %T@ %C@\n",
	).Stdout
}

// systemd creates the state directory when it first starts the service.
func TestACheckBeforeTheFirstStartFindsNothing(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Run("test", "-e", "/var/lib/superctl").Want(1)
	s.Superctl("check").Want(0).Says("ok    state in /var/lib/superctl/shop")
	s.Run("test", "-e", "/var/lib/superctl").Want(1)
}

// Each of these works for root, but not for the user of the unit in its sandbox.
func TestACheckByRootRunsAsTheService(t *testing.T) {
	s := newSite(t, Options{}, "r1", "r2")
	s.Run("chown", "-R", "shop:", "/srv/shop/releases").Want(0)
	s.Start(t, "r1")
	s.Superctl("reload").Want(0) // the second workers find all bytecode, and write none
	var before string
	harness.Eventually(t, "the old generation is gone, and no file changes", func() bool {
		if len(s.Status(t).Generations) != 1 {
			return false
		}
		earlier := before
		before = s.snapshot()
		return before == earlier
	})
	s.Superctl("check").Want(0).Says("checking as user shop, in the sandbox of " + unit)
	r := s.Superctl("check", "r2").Want(0).Says("r2 works")
	for _, step := range []string{"cutover", "retire", "settle"} {
		if strings.Contains(r.Text(), step) {
			t.Errorf("a check names the step %s:\n%s", step, r.Text())
		}
	}
	s.Superctl("check", "r2", "--json").Want(0).Says(`"kind": "check"`)
	if after := s.snapshot(); after != before {
		t.Errorf("a check has changed files; before:\n%s\nafter:\n%s", before, after)
	}
	if left := s.Run(
		"systemctl", "list-units", "--all", "--plain", "--no-legend", "superctl-check*",
	).Stdout; left != "" {
		t.Errorf("units are left: %s", left)
	}

	// A new config before it is installed, as configuration management checks it: the user of the
	// service cannot read it yet.
	s.Run("sh", "-c", "umask 077 && cp /etc/superctl/shop.toml /root/new.toml").Want(0)
	s.Run(
		"superctl", "--config", "/root/new.toml", "check",
	).Want(0).Says("warn  checking as user root, not as the service")
	s.Run("superctl", "--config", "/root/new.toml", "check", "r2").Want(0)

	s.Run("chown", "root:", "/srv/shop").Want(0)
	s.Superctl("check").Want(1).Says("FAIL  the current link /srv/shop/current cannot be created: user shop cannot write to /srv/shop")
	s.Run("chown", "shop:", "/srv/shop").Want(0)

	s.Edit(t, "[process.web]", "[listen.low]\naddress = \"127.0.0.1:81\"\n\n[process.web]")
	s.Superctl("check").Want(1).Says("FAIL  address \"127.0.0.1:81\"").Says("permission denied")
	s.Edit(t, "[listen.low]\naddress = \"127.0.0.1:81\"\n\n", "")

	must(t, s.Release("private", apps.Behaviour{}))
	s.Run("chmod", "700", "/srv/shop/releases/private/venv").Want(0)
	s.Superctl("check").Want(1).Says("FAIL  release private is broken: ").Says("permission denied")
	s.Superctl("check", "private").Want(1).Says("permission denied")
	s.Run("rm", "-rf", "/srv/shop/releases/private").Want(0)

	// Like uv: an interpreter below a home directory, which the unit hides.
	must(t, s.Release("uv", apps.Behaviour{}))
	s.Run(
		"sh", "-c",
		"mkdir -p /home/anna/bin && cp -L /srv/shop/releases/uv/venv/bin/python /home/anna/bin/python3 && chmod -R a+rX /home/anna",
	).Want(0)
	s.Run("ln", "-sfn", "/home/anna/bin/python3", "/srv/shop/releases/uv/venv/bin/python").Want(0)
	s.Superctl("check").Want(1).Says("FAIL  release uv is broken: ").Says("/srv/shop/releases/uv/venv/bin/python")
	s.Superctl("check", "uv").Want(1).Says("/srv/shop/releases/uv/venv/bin/python")
}

func TestACheckSaysWhyTheServiceCannotStart(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nUser=nobody-has-this-name\n")}, "r1")
	s.Superctl("check").Want(1).Says(unit + " cannot start: its User= does not exist (217/USER): create that user")
	s.Superctl("exec", "--release", "r1", "--", "id").Want(1).Says("nobody-has-this-name")
}

func TestRootRunsTheAppsCodeAsTheUnitsUser(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	if got := s.Superctl("exec", "--release", "r1", "--", "id", "-un").Want(0).Stdout; got != "shop\n" {
		t.Errorf("before the first start it is %q", got)
	}
	s.Start(t, "r1")
	s.Run("systemctl", "stop", unit).Want(0)
	s.Run(
		"sh", "-c", "rm /var/lib/superctl/shop/state.json && ln -s /etc/passwd /var/lib/superctl/shop/state.json",
	).Want(0)
	if got := s.Superctl("exec", "--release", "r1", "--", "id", "-un").Want(0).Stdout; got != "shop\n" {
		t.Errorf("with a link of root's for its state it is %q", got)
	}
}
