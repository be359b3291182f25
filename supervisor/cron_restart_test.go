package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

func TestTimesWithoutADaemonAreMadeUpForByOneRun(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10"})
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		untilClock(t, "00:11:00")
		cr.wants(t, "00:10:00 /r/r1")
		stop()
		untilClock(t, "00:45:00")
		s, stop = w.supervisor(dir)
		synctest.Wait()
		cr.wants(t, "00:45:00 /r/r1")
		if last := cronStatus(t, s).Last; last.Due.UTC().Format("15:04:05") != "00:20:00" {
			t.Errorf("it was due at %s", last.Due)
		}
		untilClock(t, "00:51:00")
		cr.wants(t, "00:50:00 /r/r1")
		stop()
		_, stop = w.supervisor(dir) // nothing was missed
		defer stop()
		time.Sleep(time.Minute)
		cr.wants(t)
	})
}

func TestANewScheduleIsNotMadeUpFor(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10"})
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		untilClock(t, "00:12:00")
		cr.wants(t, "00:10:00 /r/r1")
		cr.set(func() { cr.cron.Schedule = "*:0/5" })
		untilClock(t, "00:18:00")
		want(t, s, change1(t, s, Request{Kind: Reload}), Done, "r1")
		untilClock(t, "00:21:00")
		cr.wants(t, "00:20:00 /r/r1")
		stop()
		cr.set(func() { cr.cron.Schedule = "*:0/7" })
		untilClock(t, "00:43:00")
		_, stop = w.supervisor(dir)
		defer stop()
		untilClock(t, "00:50:00")
		cr.wants(t, "00:49:00 /r/r1")
	})
}

// A daemon that dies at any moment of a run: the time is not run a second time, and that its end is not
// known is told.
func TestADaemonThatDiesDuringARunRunsItsTimeOnce(t *testing.T) {
	for point, started := range map[string]int{"before run": 0, "in the run": 1, "after run": 1} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "*:0/10"})
				dir, copied := t.TempDir(), t.TempDir()
				dead := make(chan struct{})
				die := func() {
					data, err := os.ReadFile(filepath.Join(dir, stateName))
					if err == nil {
						err = os.WriteFile(filepath.Join(copied, stateName), data, 0o600)
					}
					if err != nil {
						t.Error(err)
					}
				}
				options := w.options
				w.options = func(o *Options) {
					options(o)
					o.Fault = func(at string) {
						if at == "cron: "+point {
							die()
							<-dead
						}
					}
				}
				first, stopFirst := w.supervisor(dir)
				w.options = options
				switchTo(t, first, "r1")
				if cr.set(func() { cr.takes = 40 * time.Second }); point == "after run" {
					cr.set(func() { cr.takes = 10 * time.Second })
				}
				untilClock(t, "00:10:20")
				if point == "in the run" {
					die()
				}
				cr.set(func() {
					if len(cr.runs) != started {
						t.Errorf("%d runs before the death", len(cr.runs))
					}
					cr.runs, cr.takes = nil, 0
					for name := range w.releases { // the dead one must not start again what ends
						w.releases[name] = behaviour{startErr: errors.New("dead")}
					}
				})
				w.complain = func(string) {}
				s, stop := w.supervisor(copied)
				last := cronStatus(t, s).Last
				if last.Result != api.CronEnded || !strings.Contains(last.Error, "the daemon ended before it had recorded the end of the run") {
					t.Errorf("%+v", last)
				}
				untilClock(t, "00:19:00")
				cr.wants(t)
				if len(cr.told) != 1 {
					t.Errorf("told: %+v", cr.told)
				}
				stop()
				w.bury(dead, stopFirst)
			})
		})
	}
}

func TestACommandThatTheStateFileDoesNotKnowIsNotStarted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10"})
		var full atomic.Bool
		w.system = func(o *system) {
			write := o.write
			o.write = func(path string, data []byte) error {
				if full.Load() {
					return errors.New("no space left on device")
				}
				return write(path, data)
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		full.Store(true)
		untilClock(t, "00:11:00")
		cr.wants(t)
		if last := cronStatus(t, s).Last; last == nil || !strings.Contains(last.Error, "not started: save state: no space left") {
			t.Errorf("%+v", last)
		}
		full.Store(false)
		untilClock(t, "00:21:00")
		cr.wants(t, "00:20:00 /r/r1")
	})
}

// The next daemon must not call a run unfinished whose end a person has seen.
func TestAPersonSeesTheEndOfARunOnceItIsOnDisk(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		newCrons(w, Cron{Schedule: "*:0/10"})
		w.system = func(o *system) {
			write := o.write
			o.write = func(path string, data []byte) error {
				time.Sleep(time.Second) // a slow disk
				return write(path, data)
			}
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		r, err := s.RunCron(context.Background(), api.CronRequest{Name: "clear", Who: "anna"}, func(Event) {})
		if err != nil || r.Result != api.CronDone {
			t.Fatalf("%+v, %v", r, err)
		}
		var onDisk state
		data, err := os.ReadFile(filepath.Join(dir, stateName))
		if err == nil {
			err = json.Unmarshal(data, &onDisk)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c := onDisk.Cron["clear"]; c == nil || len(c.Running) > 0 || c.Last == nil || !c.Last.Began.Equal(r.Began) {
			t.Errorf("the state file has %+v", c)
		}
	})
}

func TestTheEndOfTheDaemonEndsARun(t *testing.T) {
	for _, how := range []string{"stop", "leave", "upgrade"} {
		t.Run(how, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "*:0/10"})
				dir := t.TempDir()
				options := w.options
				var s, next *Supervisor
				stopNext := func() {}
				w.options = func(o *Options) {
					options(o)
					o.Renew = Renew{
						Check: func(context.Context) (string, error) { return "2", nil },
						HandOver: func([]Descriptor) error {
							next, stopNext = w.starting(dir)
							<-next.Adopted()
							return nil
						},
					}
				}
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				cr.set(func() { cr.takes = 50 * time.Second })
				untilClock(t, "00:10:20")
				switch how {
				case "leave":
					s.Leave()
				case "upgrade":
					want(t, s, change1(t, s, Request{Kind: Upgrade}), Done, "")
				}
				stop()
				if len(cr.ended) != 1 || cr.running != 0 {
					t.Fatalf("ended: %q, and %d run", cr.ended, cr.running)
				}
				if next == nil {
					next, stopNext = w.supervisor(dir)
				}
				defer func() { stopNext() }()
				<-next.Started()
				if last := cronStatus(t, next).Last; last.Result != api.CronEnded || !strings.Contains(last.Error, "daemon") {
					t.Errorf("%+v", last)
				}
				untilClock(t, "00:21:00")
				cr.wants(t, "00:10:00 /r/r1", "00:20:00 /r/r1")
			})
		})
	}
}

func TestAnUpgradeThatFailsGoesOnWithTheSchedule(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10"})
		options := w.options
		w.options = func(o *Options) {
			options(o)
			o.Renew = Renew{
				Check:    func(context.Context) (string, error) { return "2", nil },
				HandOver: func([]Descriptor) error { return errors.New("it dies") },
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Upgrade}), Aborted, "r1")
		untilClock(t, "00:11:00")
		cr.wants(t, "00:10:00 /r/r1")
	})
}
