package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

// crons gives every plan of the world one scheduled command, and notes when it runs.
type crons struct {
	mu      sync.Mutex
	cron    Cron
	takes   time.Duration
	fails   error
	runs    []string // when each began, and from where
	ended   []string // why each was ended by its supervisor
	env     []string
	told    []Outcome
	running int
	peak    int
	plan    func(*Plan)
}

const everyMinute = "* * * * *"

func newCrons(w *world, c Cron) *crons {
	if c.Overlap == "" {
		c.Overlap = CronForbid
	}
	c.Name, c.Command, c.Timezone, c.Timeout = "clear", []string{"clear"}, "UTC", max(c.Timeout, time.Minute)
	cr := &crons{cron: c}
	w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
	w.plan = func(p Plan) Plan {
		p.Hooks.Dir, p.Hooks.Env, p.Hooks.Timeout = p.Release.Path, []string{"HOME=/home/shop"}, time.Hour
		cr.mu.Lock()
		defer cr.mu.Unlock()
		p.Cron = []Cron{cr.cron}
		if cr.plan != nil {
			cr.plan(&p)
		}
		return p
	}
	w.options = func(o *Options) {
		o.Tell = func(out Outcome) {
			cr.mu.Lock()
			defer cr.mu.Unlock()
			if out.Kind == api.CronKind {
				cr.told = append(cr.told, out)
			}
		}
	}
	w.hooks = cr.run
	w.says = func(c worker.Command, line func(string)) { line(c.Args[0] + " says hello") }
	return cr
}

func (cr *crons) run(ctx context.Context, c worker.Command) error {
	cr.mu.Lock()
	if c.Args[0] != "clear" {
		takes := cr.takes
		cr.mu.Unlock()
		time.Sleep(takes)
		return nil
	}
	cr.runs = append(cr.runs, clock()+" "+c.Dir)
	cr.running++
	cr.peak = max(cr.peak, cr.running)
	cr.env = c.Env
	takes, fails := cr.takes, cr.fails
	cr.mu.Unlock()
	defer func() { cr.mu.Lock(); cr.running--; cr.mu.Unlock() }()
	select {
	case <-time.After(takes):
		return fails
	case <-ctx.Done():
		cr.mu.Lock()
		cr.ended = append(cr.ended, clock()+" "+context.Cause(ctx).Error())
		cr.mu.Unlock()
		return context.Cause(ctx)
	}
}

// clock returns what the clock of the machine shows, in UTC.
func clock() string { return time.Now().UTC().Format("15:04:05") }

func (cr *crons) set(f func()) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	f()
}

// wants checks what has run since the last call.
func (cr *crons) wants(t *testing.T, runs ...string) {
	t.Helper()
	synctest.Wait()
	cr.set(func() {
		if !slices.Equal(cr.runs, runs) {
			t.Errorf("ran %q, want %q", cr.runs, runs)
		}
		cr.runs = nil
	})
}

// untilClock waits until the clock shows a time.
func untilClock(t *testing.T, text string) {
	t.Helper()
	at, err := time.Parse("15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	day := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
	if day.Before(now) {
		t.Fatalf("it is %s already", clock())
	}
	time.Sleep(time.Until(day))
}

// cronStatus returns the status of the command.
func cronStatus(t *testing.T, s *Supervisor) api.CronStatus {
	t.Helper()
	list := s.Status().Cron
	if len(list) != 1 {
		t.Fatalf("%d scheduled commands in the status", len(list))
	}
	return list[0]
}

func TestAScheduledCommandRunsInTheLiveReleaseWhenItIsDue(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10"})
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		untilClock(t, "00:05:00")
		switchTo(t, s, "r1")
		untilClock(t, "00:25:00")
		cr.wants(t, "00:10:00 /r/r1", "00:20:00 /r/r1")
		for _, kv := range []string{"HOME=/home/shop", "SUPERCTL_APP=shop", "SUPERCTL_CRON=clear", "SUPERCTL_RELEASE=r1", "SUPERCTL_DUE=2000-01-01T00:20:00Z"} {
			if !slices.Contains(cr.env, kv) {
				t.Errorf("%s is not in %q", kv, cr.env)
			}
		}
		switchTo(t, s, "r2")
		untilClock(t, "00:31:00")
		cr.wants(t, "00:30:00 /r/r2")
		st := cronStatus(t, s)
		if st.Next.UTC().Format("15:04:05") != "00:40:00" || st.Last.Result != api.CronDone || st.Last.Release != "r2" ||
			*st.Last.ExitCode != 0 || st.Last.Due.UTC().Format("15:04:05") != "00:30:00" || len(st.Running) > 0 {
			t.Errorf("%+v, last %+v", st, st.Last)
		}
		var lines []LogLine
		_ = s.Logs(context.Background(), LogQuery{Process: "clear", Lines: 10}, func(l LogLine) error {
			lines = append(lines, l)
			return nil
		})
		if len(lines) != 3 || lines[2].Text != "clear says hello" || lines[2].Release != "r2" {
			t.Errorf("log: %+v", lines)
		}
	})
}

func TestARunGoesOnInItsReleaseAfterASwitch(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10", Timeout: time.Hour})
		cr.takes = 8 * time.Minute
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		untilClock(t, "00:11:00")
		cr.set(func() { cr.takes = 0 }) // of the hooks
		switchTo(t, s, "r2")
		if st := cronStatus(t, s); len(st.Running) != 1 || st.Running[0].Release != "r1" {
			t.Errorf("running: %+v", st.Running)
		}
		untilClock(t, "00:21:00")
		cr.wants(t, "00:10:00 /r/r1", "00:20:00 /r/r2")
		if len(cr.ended) > 0 {
			t.Errorf("ended: %q", cr.ended)
		}
	})
}

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

func TestAFailureOfAScheduledCommandIsToldAndKept(t *testing.T) {
	for name, c := range map[string]struct {
		takes    time.Duration
		fails    error
		result   api.CronResult
		exit     int
		contains string
	}{
		"exit code": {fails: &worker.ExitError{Exit: worker.Exit{Known: true, Code: 3}}, result: api.CronFailed, exit: 3, contains: "exit code 3"},
		"no start":  {fails: errors.New("no such file"), result: api.CronFailed, exit: -1, contains: "no such file"},
		"timeout":   {takes: time.Hour, result: api.CronEnded, exit: -1, contains: "not finished within 1 min; timeout in its [cron] section"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "00:10"})
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				cr.set(func() { cr.takes, cr.fails = c.takes, c.fails })
				untilClock(t, "00:12:00")
				last := cronStatus(t, s).Last
				exit := -1
				if last.ExitCode != nil {
					exit = *last.ExitCode
				}
				if last.Result != c.result || exit != c.exit || !strings.Contains(last.Error, c.contains) ||
					!slices.Equal(last.Log, []string{"clear says hello"}) {
					t.Errorf("%+v", last)
				}
				synctest.Wait()
				if len(cr.told) != 1 || cr.told[0].Command != "clear" || cr.told[0].Error != last.Error || cr.told[0].Result != Aborted {
					t.Errorf("told: %+v", cr.told)
				}
			})
		})
	}
}

// Migrations run in the before hooks, and with a hold nothing serves.
func TestAScheduledCommandWaitsForHooksAndForAHold(t *testing.T) {
	for _, strategy := range []Strategy{Overlap, Hold} {
		t.Run(string(strategy), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "*:0/10"})
				cr.plan = func(p *Plan) {
					p.Processes[0].Strategy, p.Processes[0].Hold = strategy, time.Hour
					p.Hooks.Before = [][]string{{"migrate"}}
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				untilClock(t, "00:09:00")
				cr.set(func() { cr.takes = 25 * time.Minute })
				switched := make(chan *Outcome)
				go func() { switched <- switchTo(t, s, "r2") }()
				untilClock(t, "00:33:00")
				cr.wants(t)
				if st := cronStatus(t, s); !strings.Contains(st.Reason, "before of a switch is in progress") &&
					!strings.Contains(st.Reason, "connections are held") || st.Next.UTC().Format("15:04:05") != "00:10:00" {
					t.Errorf("%+v", st)
				}
				if _, err := s.RunCron(context.Background(), api.CronRequest{Name: "clear"}, nil); !isRefusal(err) {
					t.Errorf("a run during the hooks: %v", err)
				}
				cr.set(func() { cr.takes = 0 })
				if out := <-switched; out.Result != Done {
					t.Fatalf("%+v", out)
				}
				synctest.Wait()
				var runs []string
				cr.set(func() { runs, cr.runs = cr.runs, nil })
				if len(runs) != 1 || !strings.HasPrefix(runs[0], "00:34:0") {
					t.Errorf("ran %q, want one run after the hooks", runs)
				}
				untilClock(t, "00:41:00")
				cr.wants(t, "00:40:00 /r/r2")
			})
		})
	}
}

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

// The clock of the machine is what counts: the test sets it by what the command is remembered for.
func TestAClockThatIsSetNeitherRepeatsATimeNorKeepsACommandFromRunning(t *testing.T) {
	for name, c := range map[string]struct {
		ahead time.Duration // by which the clock was put back
		runs  []string
	}{
		"an hour":  {time.Hour, []string{"01:20:00 /r/r1"}},
		"ten days": {240 * time.Hour, []string{"00:20:00 /r/r1", "00:30:00 /r/r1", "00:40:00 /r/r1", "00:50:00 /r/r1", "01:00:00 /r/r1", "01:10:00 /r/r1", "01:20:00 /r/r1"}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				cr := newCrons(w, Cron{Schedule: "*:0/10"})
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				untilClock(t, "00:11:00")
				cr.wants(t, "00:10:00 /r/r1")
				_ = s.do(func() { s.scheduling.states["clear"].Seen = wallClock().Add(c.ahead) })
				untilClock(t, "01:21:00")
				cr.wants(t, c.runs...)
			})
		})
	}
}

func TestACommandForOneHostRunsOnTheLeaderAlone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		cr := newCrons(w, Cron{Schedule: "*:0/10", One: true})
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		run := Request{Kind: Switch, Release: "r1", Origin: Origin{Run: "run-1"}, Follower: true}
		want(t, s, change1(t, s, run), Done, "r1")
		untilClock(t, "00:11:00")
		cr.wants(t)
		if st := cronStatus(t, s); st.Next != nil || !strings.Contains(st.Reason, "canary host") {
			t.Errorf("%+v", st)
		}
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		untilClock(t, "00:21:00")
		cr.wants(t)
		run.Release, run.Run, run.Follower = "r2", "run-2", false
		want(t, s, change1(t, s, run), Done, "r2")
		untilClock(t, "00:31:00")
		cr.wants(t, "00:30:00 /r/r2") // and nothing is made up for
	})
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

func TestAnAppWithoutScheduledCommandsSetsNoAlarm(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.system = func(o *system) {
			o.alarm = func(at time.Time, _ func()) func() { t.Error("an alarm at", at); return func() {} }
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Hour)
		if st := s.Status(); st.Cron != nil {
			t.Errorf("%+v", st.Cron)
		}
	})
}

func TestTheAlarmOfTheMachineRings(t *testing.T) {
	rang := make(chan time.Time, 1)
	at := time.Now().Add(50 * time.Millisecond)
	stop := startAlarm(at, func() { rang <- time.Now() })
	if now := <-rang; now.Before(at) {
		t.Errorf("it rang %s too early", at.Sub(now))
	}
	stop()
	stop = startAlarm(time.Now().Add(time.Hour), func() { rang <- time.Now() })
	stop()
	stop()
	if len(rang) > 0 {
		t.Error("it rang after it was stopped")
	}
}
