package supervisor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestADiskThatCannotBeWrittenIsSaidUntilItCan(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		full := false
		w.options = func(o *Options) {
			o.Record = func(Outcome) error {
				if full {
					return syscall.ENOSPC
				}
				return nil
			}
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		full = true
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		want(t, s, switchTo(t, s, "r2"), Aborted, "r1")
		st := s.Status()
		if st.Health != HealthDegraded ||
			!strings.HasPrefix(st.Reason, "the history cannot be written: no space left on device") ||
			len(st.Troubles) != 2 {
			t.Errorf("%s: %s; %+v", st.Health, st.Reason, st.Troubles)
		}
		full = false
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
	})
}

func TestWhatCouldNotBeRecordedIsRecordedLaterAndOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		full := false
		var history []string
		w.options = func(o *Options) {
			o.Record = func(o Outcome) (err error) {
				w.set(func() {
					if full {
						err = syscall.ENOSPC
						return
					}
					history = append(history, o.Kind+" "+o.Release)
				})
				return err
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.set(func() { full, history = true, nil })
		out := switchTo(t, s, "r2")
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		time.Sleep(time.Minute)
		if st := s.Status(); st.Health != HealthDegraded || !strings.Contains(st.Reason, "the history cannot be written") ||
			len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "and is tried again: no space left") {
			t.Errorf("%s: %s; %q", st.Health, st.Reason, out.Warnings)
		}
		w.set(func() { full = false })
		time.Sleep(2 * lastRetry)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("after the disk has room again: %s: %s", st.Health, st.Reason)
		}
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Done, "r1")
		time.Sleep(time.Hour)
		if want := []string{"switch r2", "rollback r1", "restart r1"}; !slices.Equal(history, want) {
			t.Errorf("the history has %q, want %q", history, want)
		}
	})
}

func TestAnEndingDaemonLogsWhatTheHistoryLacks(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{exitAfter: time.Second}
		core, logs := observer.New(zap.ErrorLevel)
		full := true
		var history []string
		w.options = func(o *Options) {
			o.Log = zap.New(core)
			o.Record = func(o Outcome) (err error) {
				w.set(func() {
					if full && o.Release == "r2" {
						err = syscall.ENOSPC
						return
					}
					history = append(history, o.Release)
				})
				return err
			}
		}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		stop()
		var lost []string
		for _, e := range logs.FilterMessageSnippet("not in the history").All() {
			f := e.ContextMap()
			lost = append(lost, fmt.Sprint(f["kind"], " ", f["release"], " ", f["outcome"], " ", f["error"]))
		}
		if want := []string{"switch r2 reverted no space left on device"}; !slices.Equal(lost, want) {
			t.Errorf("lost: %q, want %q", lost, want)
		}
		if !slices.Equal(history, []string{"r1"}) {
			t.Errorf("the history has %q", history)
		}
	})
}
