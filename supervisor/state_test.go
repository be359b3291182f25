package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is the state directory's file system. It notes what is done to it, and fails at will.
type disk struct {
	mu     sync.Mutex
	log    []string
	failed error // of a sync; nil = it works
}

func (d *disk) note(what, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, what+" "+filepath.Base(path))
	if what == "sync" {
		return d.failed
	}
	return nil
}

// under has files written through the disk.
func (d *disk) under(o *system) {
	o.write = func(path string, data []byte) error {
		return errors.Join(writeFile(path, data), d.note("write", path))
	}
	o.sync = func(dir string) error { return errors.Join(syncDir(dir), d.note("sync", dir)) }
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

func TestTheStateDirectoryIsSyncedAfterEachRename(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir, d := t.TempDir(), new(disk)
		w.system = d.under
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		stop()
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.log) < 10 || len(d.log)%2 != 0 {
			t.Fatalf("%q", d.log)
		}
		for i := 0; i < len(d.log); i += 2 {
			if d.log[i] != "write "+stateName || d.log[i+1] != "sync "+filepath.Base(dir) {
				t.Fatalf("%q", d.log[i:i+2])
			}
		}
	})
}

func TestASyncThatFailsIsASaveThatHasFailed(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		d := new(disk)
		w.system = d.under
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		d.fail(unix.EIO)
		out := switchTo(t, s, "r2")
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, unix.EIO.Error()) {
			t.Errorf("%s", out.Error)
		}
		if st := s.Status(); st.Health != HealthDegraded ||
			!strings.Contains(st.Reason, "the state cannot be written") {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		d.fail(nil)
		time.Sleep(2 * lastBackoff)
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
	})
}

func TestAStartGoesOnWithoutItsStateFile(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir, d := t.TempDir(), new(disk)
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		stop()
		d.fail(unix.ENOSPC)
		w.system = d.under
		s, stop = w.supervisor(dir)
		time.Sleep(time.Minute)
		if st := s.Status(); st.Release != "r1" || st.Health != HealthDegraded || !strings.Contains(st.Reason, "the state cannot be written") {
			t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
		}
		d.fail(nil)
		stop()
	})
}

// A step that only reads or waits, or saves the new generation itself, does not wait for the disk.
func TestAStepThatChangesSomethingIsDurableBeforeItBegins(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		var seen []string
		s.opt.Fault = func(point string) {
			step, before := strings.CutPrefix(point, "switch: before ")
			if !before {
				return
			}
			var st state
			data, err := os.ReadFile(filepath.Join(dir, "state.json"))
			if err != nil || json.Unmarshal(data, &st) != nil {
				t.Errorf("%s: %v", point, err)
			}
			seen = append(seen, step)
			if !savesItself(step) && (st.Change == nil || st.Change.Step != step) {
				t.Errorf("%s: the file says %+v", point, st.Change)
			}
		}
		switchTo(t, s, "r2")
		if len(seen) != 7 {
			t.Errorf("steps: %v", seen)
		}
	})
}

func TestAStateFileOfAnotherDaemonIsRefusedAndKept(t *testing.T) {
	for name, data := range map[string]string{
		"another app's":   `{"version": 1, "app": "blog"}`,
		"a newer version": `{"version": 99, "app": "shop"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "state.json")
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			err := New(Options{App: "shop", State: dir}).Run(context.Background())
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Run: %v", err)
			}
			if got, _ := os.ReadFile(path); string(got) != data {
				t.Errorf("the file was changed to %q", got)
			}
		})
	}
}
