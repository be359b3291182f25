package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// moved lets the `current` link of the world be moved by something else, and put back.
func (w *world) moved() {
	w.options = func(o *Options) {
		o.Moved = func(r Release) string {
			if at := w.current(); at != r.Name {
				return at
			}
			return ""
		}
	}
}

// current is where the link leads.
func (w *world) current() (release string) {
	w.set(func() { release = w.pointed })
	return release
}

func TestARefusedSwitchPutsTheLinkBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["bad"] = behaviour{}, behaviour{answer: func(int) int { return 500 }}
		w.moved()
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for _, release := range []string{"bad", "no such release"} {
			w.set(func() { w.pointed = "bad" })
			if st := s.Status(); len(st.Troubles) != 1 ||
				!strings.Contains(st.Troubles[0].Why, "it was moved to bad, and r1 is live") {
				t.Errorf("status tells %+v", st.Troubles)
			}
			out := switchTo(t, s, release)
			want(t, s, out, Aborted, "r1")
			if w.current() != "r1" || len(out.Warnings) != 1 ||
				!strings.Contains(out.Warnings[0], "had been moved to bad; it leads to r1 again") {
				t.Errorf("current leads to %s; %v", w.current(), out.Warnings)
			}
			if st := s.Status(); len(st.Troubles) != 0 {
				t.Errorf("status tells %+v", st.Troubles)
			}
		}
	})
}

func TestASwitchToTheLiveReleasePutsTheLinkBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.moved()
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.set(func() { w.pointed = "elsewhere" })
		out := switchTo(t, s, "r1")
		want(t, s, out, Done, "r1")
		if out.Changed || w.current() != "r1" || len(out.Warnings) != 1 {
			t.Errorf("current leads to %s; %+v", w.current(), out)
		}
	})
}

func TestStatusSaysThatALiveReleaseIsGone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		gone := map[string]bool{}
		w.options = func(o *Options) {
			o.Broken = func(r Release) error {
				if r.Path != "/r/"+r.Name {
					t.Errorf("%+v was looked at", r)
				}
				var err error
				w.set(func() {
					if gone[r.Name] {
						err = errors.New("release " + r.Name + " no longer exists")
					}
				})
				return err
			}
			o.NoWayBack = o.Broken
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		if st := s.Status(); st.Health != HealthOK || len(st.Troubles) != 0 {
			t.Errorf("%+v", st)
		}
		w.set(func() { gone["r1"] = true })
		if st := s.Status(); st.Health != HealthOK || len(st.Troubles) != 1 ||
			!strings.Contains(st.Troubles[0].Why, "r1 no longer exists") {
			t.Errorf("the previous one: %s, %+v", st.Health, st.Troubles)
		}
		w.set(func() { gone["r2"] = true })
		if st := s.Status(); st.Health != HealthDegraded || !strings.Contains(st.Reason, "r2 no longer exists") ||
			len(st.Troubles) != 2 {
			t.Errorf("the live one: %s, %+v", st.Health, st.Troubles)
		}
	})
}

func TestTheLossOfTheLiveReleaseIsToldWithoutBeingAsked(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		told := healthTold(w)
		lost := make(map[string]func()) // by release: what a watcher calls
		var gone error
		tell := w.options
		w.options = func(o *Options) {
			tell(o)
			o.Broken = func(r Release) (err error) {
				w.set(func() {
					if r.Name == "r2" {
						err = gone
					}
				})
				return err
			}
			o.Watch = func(ctx context.Context, r Release, changed func()) error {
				w.set(func() { lost[r.Name] = changed })
				<-ctx.Done()
				w.set(func() { delete(lost, r.Name) })
				return nil
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		synctest.Wait()
		var notice func()
		w.set(func() {
			if notice = lost["r2"]; len(lost) != 1 {
				t.Errorf("%d releases are watched", len(lost))
			}
			gone = errors.New("release r2 is gone")
		})
		notice()
		time.Sleep(time.Minute)
		if got := told(); !slices.Equal(got, []string{"degraded r2"}) {
			t.Errorf("told %q", got)
		}
		w.set(func() { gone = nil })
		notice()
		time.Sleep(time.Hour)
		if got := told(); !slices.Equal(got, []string{"degraded r2", "ok r2"}) {
			t.Errorf("told %q", got)
		}
	})
}
