package systemd

import (
	"encoding/json"
	"strings"
	"testing"
)

// drilled is the part of `drill --json` that the tests read.
type drilled struct {
	OK      bool `json:"ok"`
	Lost    int  `json:"lost"`
	Changes []struct {
		Kind string `json:"kind"`
	} `json:"changes"`
}

func (s *Site) drill(t *testing.T, options ...string) (d drilled, kinds string) {
	t.Helper()
	r := s.Superctl(append(
		[]string{"drill", "--switches", "1", "--path", "/", "--post", "/echo", "--json"}, options...,
	)...).Want(0)
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("%v\n%s", err, r.Text())
	}
	list := make([]string, len(d.Changes))
	for i, c := range d.Changes {
		list[i] = c.Kind
	}
	return d, strings.Join(list, ", ")
}

func TestSystemdRestartsTheDaemonThatALiveDrillKills(t *testing.T) {
	s := newSite(t, Options{}, "r1", "r2")
	s.Start(t, "r1")
	s.Superctl("switch", "r2").Want(0)
	d, kinds := s.drill(t, "--live", "--yes", "--kills")
	if !d.OK || kinds != "switch, rollback, reload, kill worker, kill daemon, upgrade" {
		t.Errorf("%+v", d)
	}
	if st := s.Status(t); st.Release != "r2" || s.Property("ActiveState") != "active" ||
		s.Property("NRestarts") == "0" {
		t.Errorf("%+v", st)
	}
}

// The unit names the user, and the config does not: a drill by root must not run the app's code as
// root.
func TestADrillByRootRunsItsCopyAsTheUserOfTheService(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Edit(
		t, `command = "gunicorn --workers 2 bare.wsgi"`,
		`command = ["sh", "-c", "id -un >>/tmp/users; exec gunicorn --workers 2 bare.wsgi"]`,
	)
	s.Start(t, "r1")
	// the service has a private /tmp
	s.Run("sh", "-c", "touch /tmp/users; chown shop /tmp/users; chmod 666 /tmp/users").Want(0)
	before := s.MainPID(t)
	if d, _ := s.drill(t); !d.OK {
		t.Errorf("%+v", d)
	}
	users := strings.Fields(s.Run("cat", "/tmp/users").Want(0).Stdout)
	if len(users) == 0 || strings.Join(users, "") != strings.Repeat("shop", len(users)) {
		t.Errorf("its workers were: %v", users)
	}
	if st := s.Status(t); s.MainPID(t) != before || len(st.Generations) != 1 || st.Generations[0].ID != 1 {
		t.Errorf("the service was touched: %+v", st)
	}
	left := s.Run(
		"sh", "-c", "ls -d /tmp/superctl-drill-* /run/superctl-drill-*",
	).Stdout + s.Run("pgrep", "-f", "[s]uperctl-drill-").Stdout
	if left != "" {
		t.Errorf("left over: %s", left)
	}
}
