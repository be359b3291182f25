package supervisor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

func TestACommandThatIsDueWhileItRunsIsSkippedRunsTwiceOrIsReplaced(t *testing.T) {
	for overlap, c := range map[CronOverlap]struct {
		runs  []string
		ended []string
		peak  int
	}{
		CronForbid:  {runs: []string{"00:10:00", "00:30:00"}, peak: 1},
		CronAllow:   {runs: []string{"00:10:00", "00:20:00", "00:30:00"}, peak: 2},
		CronReplace: {runs: []string{"00:10:00", "00:20:00", "00:30:00"}, ended: []string{"00:20:00", "00:30:00"}, peak: 1},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "*:0/10", Overlap: overlap, Timeout: time.Hour})
				s, stop := w.supervisor(t.TempDir())
				switchTo(t, s, "r1")
				cr.set(func() { cr.takes = 15 * time.Minute })
				untilClock(t, "00:21:00")
				if st := cronStatus(t, s); (overlap == CronForbid) != (st.Skipped == 1) {
					t.Errorf("skipped %d times", st.Skipped)
				}
				untilClock(t, "00:31:00")
				synctest.Wait()
				cr.set(func() {
					if got := firstWords(cr.runs); !slices.Equal(got, c.runs) || !slices.Equal(firstWords(cr.ended), c.ended) ||
						cr.peak != c.peak || len(cr.told) > 0 {
						t.Errorf("ran at %q, ended at %q, %d at once, told %d", got, cr.ended, cr.peak, len(cr.told))
					}
				})
				stop()
			})
		})
	}
}

func firstWords(list []string) (first []string) {
	for _, s := range list {
		word, _, _ := strings.Cut(s, " ")
		first = append(first, word)
	}
	return first
}

func TestAPersonRunsAScheduledCommandAtAnyTime(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10", One: true})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ask := func() (*api.CronRun, []string, error) {
			var lines []string
			r, err := s.RunCron(context.Background(), api.CronRequest{Name: "clear", Who: "anna"}, func(ev Event) {
				lines = append(lines, ev.Detail)
			})
			return r, lines, err
		}
		if _, _, err := ask(); !isRefusal(err) {
			t.Errorf("without a release: %v", err)
		}
		switchTo(t, s, "r1")
		untilClock(t, "00:05:00")
		r, lines, err := ask()
		if err != nil || r.Result != api.CronDone || r.Who != "anna" || r.Due != nil || !slices.Equal(lines, []string{"clear says hello"}) {
			t.Errorf("%+v, %q, %v", r, lines, err)
		}
		cr.set(func() { cr.fails = &worker.ExitError{Exit: worker.Exit{Known: true, Code: 7}} })
		if r, _, err := ask(); err != nil || r.Result != api.CronFailed || *r.ExitCode != 7 {
			t.Errorf("%+v, %v", r, err)
		}
		if len(cr.told) > 0 {
			t.Errorf("the team is told of what a person sees: %+v", cr.told)
		}
		cr.set(func() { cr.fails, cr.takes = nil, 30*time.Second })
		untilClock(t, "00:10:10")
		if _, _, err := ask(); !isRefusal(err) || !strings.Contains(err.Error(), "clear still runs, since") {
			t.Errorf("while it runs: %v", err)
		}
		if _, err := s.RunCron(context.Background(), api.CronRequest{Name: "cleer"}, nil); !isRefusal(err) {
			t.Errorf("a name that there is not: %v", err)
		}
		cr.wants(t, "00:05:00 /r/r1", "00:05:00 /r/r1", "00:10:00 /r/r1")
	})
}

func TestAPersonReplacesARunAndEndsTheirOwn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10", Overlap: CronReplace})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		cr.set(func() { cr.takes = 50 * time.Second })
		untilClock(t, "00:10:10")
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(5*time.Second, cancel)
		r, err := s.RunCron(ctx, api.CronRequest{Name: "clear", Who: "anna"}, func(Event) {})
		if err != nil || r.Result != api.CronEnded || r.Error != errLeftRun.Error() {
			t.Errorf("%+v, %v", r, err)
		}
		cr.wants(t, "00:10:00 /r/r1", "00:10:10 /r/r1")
		if !slices.Equal(firstWords(cr.ended), []string{"00:10:10", "00:10:15"}) {
			t.Errorf("ended: %q", cr.ended)
		}
	})
}

func TestRunsThatMayOverlapAreLimited(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: everyMinute, Overlap: CronAllow, Timeout: time.Hour})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		cr.set(func() { cr.takes = 59 * time.Minute })
		untilClock(t, "00:30:30")
		if st := cronStatus(t, s); len(st.Running) != mostCronRuns || st.Skipped != 20 {
			t.Errorf("%d runs, %d skipped", len(st.Running), st.Skipped)
		}
		cr.set(func() {
			if cr.peak != mostCronRuns {
				t.Errorf("%d runs at once", cr.peak)
			}
		})
	})
}
