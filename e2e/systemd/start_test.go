package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// Such a start succeeds, because the daemon keeps trying. Its status must be true, and an operator
// can fix the cause while it runs.
func TestAStartThatDoesNotServeIsReportedAndRetried(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	path := func(name string) string { return filepath.Join(s.dir, "srv", "releases", name) }
	move := func(from, to string) func(*testing.T) {
		return func(t *testing.T) { must(t, os.Rename(path(from), path(to))) }
	}
	host, port, _ := strings.Cut(s.Address, ":")
	const credential = "[env]\nSECRET_KEY = { credential = \"no-such-credential\" }\n\n"
	for _, c := range []struct {
		name        string
		spoil, mend func(t *testing.T)
		says        []string
	}{
		{
			name: "code that cannot be imported", says: []string{"r1", "exit code"},
			spoil: move("r1/bare/wsgi.py", "r1/bare/wsgi.away"), mend: move("r1/bare/wsgi.away", "r1/bare/wsgi.py"),
		},
		{
			name: "a release that is gone", says: []string{"r1", "was removed"},
			spoil: move("r1", "away"), mend: move("away", "r1"),
		},
		{
			name: "a credential that the unit has not", says: []string{"r1", "no-such-credential"},
			spoil: func(t *testing.T) { s.Edit(t, "[process.web]", credential+"[process.web]") },
			mend:  func(t *testing.T) { s.Edit(t, credential, "") },
		},
		{
			name: "a port that another program has", says: []string{"r1", s.Address + " is in use by python (pid "},
			spoil: func(t *testing.T) {
				s.Run(
					"systemd-run", "--unit=holder", "--uid=shop", "/srv/shop/releases/r1/venv/bin/python", "-m",
					"http.server", "--bind", host, port,
				).Want(0)
				harness.Eventually(t, "the port is taken", func() bool {
					c, err := net.Dial("tcp", s.Address)
					if err == nil {
						_ = c.Close()
					}
					return err == nil
				})
			},
			mend: func(*testing.T) { s.Run("systemctl", "stop", "holder").Want(0) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Run("systemctl", "stop", unit).Want(0)
			c.spoil(t)
			s.Run("systemctl", "start", unit).Want(0)
			daemon := s.MainPID(t)
			status := s.Run("systemctl", "status", "--no-pager", "--lines=0", unit)
			down := s.Superctl("status", "--exit-code").Want(2)
			for _, words := range c.says {
				status.Says(words)
				down.Says(words)
			}
			c.mend(t)
			harness.Eventually(t, "the app serves", func() bool { return s.Superctl("status", "--exit-code").Code == 0 })
			if now := s.MainPID(t); now != daemon {
				t.Errorf("daemon %d became %d", daemon, now)
			}
			s.lossless(t, s.Load(t))
		})
	}
}
