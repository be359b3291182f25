package systemd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestSystemdFindsNothingWrongWithTheUnits(t *testing.T) {
	s := newSite(t, Options{})
	s.Run("cp", "/usr/share/superctl/systemd/examples/superctl@shop.socket", "/etc/systemd/system/").Want(0)
	if said := s.Run("systemd-analyze", "verify", unit, "superctl@shop.socket").Want(0).Text(); said != "" {
		t.Errorf("it says:\n%s", said)
	}
	// In tenths. The app needs the rest: the network, other users' files, its processes.
	if r := s.Run("systemd-analyze", "security", "--threshold=30", unit); r.Code != 0 {
		t.Errorf("less hardened than it was:\n%s", r.Text())
	}
}

func TestTheServiceStartsWithEachDropIn(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Run("mkdir", "-p", "/home/deploy/shop", "/var/lib/shop/media").Want(0)
	for dropIn, user := range map[string]string{
		"user": "www-data", "paths": "shop", "low-port": "shop", "root": "root",
	} {
		t.Run(dropIn, func(t *testing.T) {
			dir := "/etc/systemd/system/" + unit + ".d"
			s.Run("mkdir", "-p", dir).Want(0)
			s.Run("cp", "/usr/share/superctl/systemd/examples/"+dropIn+".conf", dir).Want(0)
			s.Run("chown", "-R", user+":", "/srv/shop/releases/..").Want(0)
			s.Run("systemctl", "daemon-reload").Want(0)
			if said := s.Run("systemd-analyze", "verify", unit).Want(0).Text(); said != "" {
				t.Errorf("systemd-analyze verify says:\n%s", said)
			}
			s.Start(t, "r1")
			if got := strings.TrimSpace(s.Run(
				"stat", "--format=%U", "/var/lib/superctl/shop",
			).Want(0).Stdout); got != user {
				t.Errorf("it runs as %q, not as %q", got, user)
			}
			s.Run("systemctl", "stop", unit).Want(0)
			s.Run("rm", "-r", dir).Want(0)
		})
	}
}

func TestTheNginxExampleIsValid(t *testing.T) {
	s := newSite(t, Options{})
	s.Run("mkdir", "-p", "/var/lib/nginx", "/var/log/nginx").Want(0)
	s.Run(
		"sh", "-c", "printf 'events {}\nhttp { include /usr/share/superctl/nginx/shop.conf; }\n' >/tmp/nginx.conf",
	).Want(0)
	s.Run("unshare", "--net", "nginx", "-t", "-c", "/tmp/nginx.conf").Want(0)
}

func TestTheExampleConfigPassesItsCheck(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Superctl("--config", "/usr/share/superctl/examples/shop.toml", "check").Want(0)
}

// systemd has copies of the listeners, and an unprivileged user cannot see the descriptors of other
// users' processes.
func TestTheCheckOfAServiceThatRunsFindsNothing(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	s.Superctl("check").Want(0)
	s.Run(
		"setpriv", "--reuid=www-data", "--regid=www-data", "--groups=shop", "superctl", "--app", "shop", "check",
	).Want(0)
}

func TestAllAppsOfTheHostAreListed(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	blog := filepath.Join(s.dir, "etc", "blog.toml")
	must(t, os.WriteFile(blog, []byte("app = \"blog\"\n"), 0o644))
	listed := s.Run("superctl", "ls", "--exit-code").Want(3).Text()
	for _, want := range []string{`(?m)^shop +r1 +ok +\d.* 1 of 1 `, `(?m)^blog +- +stopped `, "systemctl status superctl@blog"} {
		if !regexp.MustCompile(want).MatchString(listed) {
			t.Errorf("%s is missing:\n%s", want, listed)
		}
	}
	must(t, os.Remove(blog))
	s.Run("superctl", "status", "--all", "--exit-code").Want(0)
	as := []string{"setpriv", "--reuid=www-data", "--regid=www-data", "--groups=shop", "superctl", "ls", "--exit-code"}
	s.Run(as...).Want(0).Says("ok")
	as[3] = "--clear-groups"
	s.Run(as...).Want(3).Says("unknown").Says("permission denied").Says("become a member of group shop")
}

// page checks that the group of superctl-web.service gets its page, with the history, and no other user
// does.
func page(s *Site) {
	// --max-time ends the events, and curl then returns 28.
	const events = "curl --silent --show-error --fail --max-time 5 --unix-socket /run/superctl-web/web.sock http://localhost/events"
	as := []string{"setpriv", "--reuid=www-data", "--regid=www-data", "--groups=superctl-view", "sh", "-c", events}
	s.Run(as...).Want(28).Says(`"name":"shop","health":"ok"`).Says(`"list":[{"number":1,"kind":"switch","result":"done","release":"r1"`)
	as[3] = "--clear-groups"
	s.Run(as...).Want(7)
}

func TestTheUnitsForAllAppsMayLookAndChangeNothing(t *testing.T) {
	units := filepath.Join(sources(), "..", "..", "packaging", "systemd")
	address, dropIn := FreeAddress(t), filepath.Join(t.TempDir(), "address.conf") // the machine has one 9797
	must(t, os.WriteFile(dropIn, []byte("[Service]\nExecStart=\nExecStart=/usr/bin/superctl metrics --listen "+address+"\n"), 0o644))
	s := newSite(t, Options{Units: []Bind{
		{From: filepath.Join(units, "superctl-metrics.service"), To: "/etc/systemd/system/superctl-metrics.service"},
		{From: filepath.Join(units, "superctl-web.service"), To: "/etc/systemd/system/superctl-web.service"},
		{From: dropIn, To: "/etc/systemd/system/superctl-metrics.service.d/address.conf"},
	}}, "r1", "r2")
	for _, unit := range []string{"superctl-metrics.service", "superctl-web.service"} {
		if said := s.Run("systemd-analyze", "verify", unit).Want(0).Text(); said != "" {
			t.Errorf("systemd-analyze verify says:\n%s", said)
		}
		s.Run("systemd-analyze", "security", "--threshold=20", unit).Want(0)
	}
	s.Start(t, "r1")
	s.Run("systemctl", "start", "superctl-metrics", "superctl-web").Want(0)
	curl := []string{"curl", "--silent", "--show-error", "--fail", "http://" + address + "/metrics"}
	s.Run(curl...).Want(0).Says(`superctl_up{app="shop"} 0`) // it is not a member of the app's group

	s.Run("usermod", "--append", "--groups", "shop", "superctl-view").Want(0)
	s.Run("systemctl", "restart", "superctl-metrics", "superctl-web").Want(0)
	s.Run(curl...).Want(0).Says(`superctl_up{app="shop"} 1`).Says(`superctl_release_info{app="shop",commit="",generation="1",release="r1"} 1`)

	as := []string{"setpriv", "--reuid=superctl-view", "--regid=superctl-view", "--init-groups", "superctl", "--app", "shop"}
	s.Run(append(as, "status")...).Want(0)
	for _, change := range [][]string{{"switch", "r2"}, {"rollback"}, {"signal", "web", "HUP"}, {"logs"}} {
		s.Run(append(as[:len(as):len(as)], change...)...).Want(1).Says("the user superctl-view may only look at what runs")
	}
	s.Superctl("status").Want(0).Says("r1, ok")
	page(s)
	s.Run("systemctl", "stop", "superctl-metrics", "superctl-web").Want(0)
}
