package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
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
