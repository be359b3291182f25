package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// torn has a state file that nobody understands in the directory.
func torn(t *testing.T, dir, content string) (path string) {
	t.Helper()
	path = filepath.Join(dir, stateName)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// followsCurrent has a start without a state find r1, as through the `current` link.
func followsCurrent(w *world) {
	w.options = func(o *Options) {
		o.Resolve = func(ctx context.Context, t Target) (Plan, error) {
			if t.Starting() && t.Live == nil {
				t.Live = &Release{Name: "r1"}
			}
			return w.resolve(ctx, t)
		}
	}
}

func TestAnUnreadableStateDoesNotKeepTheSiteDown(t *testing.T) {
	for name, content := range map[string]string{
		"cut short": `{"version": 1, "app": "shop", "generat`,
		"empty":     ``,
		"zeroes":    "\x00\x00\x00\x00",
		"nonsense":  `{"version": 2, "needs": 2, "app": "shop", "live": -3}`,
		"null":      `null`,
		"a list":    `[]`,
		"no format": `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				followsCurrent(w)
				path := torn(t, t.TempDir(), content)
				s, stop := w.supervisor(filepath.Dir(path))
				defer stop()
				time.Sleep(time.Minute)
				st := s.Status()
				if st.Release != "r1" || st.Health != HealthOK {
					t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
				}
				if len(st.Troubles) != 1 ||
					!strings.Contains(st.Troubles[0].Why, "it was moved to "+path+".unreadable") {
					t.Errorf("status tells %+v", st.Troubles)
				}
				if data, err := os.ReadFile(path + ".unreadable"); string(data) != content {
					t.Errorf("moved aside is %q, %v", data, err)
				}
			})
		})
	}
}

// TestWhatIsNoStateFileDoesNotKeepTheSiteDown has something else in its place.
func TestWhatIsNoStateFileDoesNotKeepTheSiteDown(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"is a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"is a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				followsCurrent(w)
				path := filepath.Join(t.TempDir(), stateName)
				if err := put(path); err != nil {
					t.Fatal(err)
				}
				s, stop := w.supervisor(filepath.Dir(path))
				defer stop()
				time.Sleep(time.Minute)
				st := s.Status()
				if st.Release != "r1" || st.Health != HealthOK {
					t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
				}
				if len(st.Troubles) != 1 || !strings.Contains(st.Troubles[0].Why, "it "+name+"; it was moved to "+path+".unreadable") {
					t.Errorf("status tells %+v", st.Troubles)
				}
			})
		})
	}
}

func TestTheReasonOfAnUnreadableStateIsForAReader(t *testing.T) {
	path := torn(t, t.TempDir(), `{"version": 2, "app": ["shop"]}`)
	err := New(Options{App: "shop", State: filepath.Dir(path)}).CheckState()
	if err == nil || !strings.Contains(err.Error(), "cannot be read: app is a JSON array") {
		t.Errorf("%v", err)
	}
}

func TestAnUnreadableStateIsRefusedWhileWorkersRun(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		followsCurrent(w)
		dir := t.TempDir()
		first, stopFirst := w.supervisor(dir)
		leaveNow(first)
		stopFirst()
		const content = `{"version": 2, "app": "sh`
		path := torn(t, dir, content)
		next := New(Options{App: "shop", State: dir, Gates: []Gate{w.gate.next()}})
		next.os = first.os
		var unreadable *UnreadableStateError
		if err := next.Run(t.Context()); !errors.As(err, &unreadable) || unreadable.Path != path {
			t.Errorf("a daemon beside workers that it does not know: %v", err)
		}
		if !w.procs[0].alive() {
			t.Error("the worker was ended")
		}
		if data, err := os.ReadFile(path); string(data) != content {
			t.Errorf("the state file is %q, %v", data, err)
		}
		_ = w.procs[0].KillAll()
	})
}
