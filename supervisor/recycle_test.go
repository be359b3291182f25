package supervisor

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// recycles has the web workers of every plan recycled at these limits, measured every 10 s.
func recycles(w *world, limits Recycle, more func(*Plan)) {
	limits.Interval = 10 * time.Second
	before := w.plan
	w.plan = func(p Plan) Plan {
		if before != nil {
			p = before(p)
		}
		p.Processes[0].Recycle = &limits
		if more != nil {
			more(&p)
		}
		return p
	}
}

// leaks has the workers with these numbers, from 0 in the order of their start, use 900 MiB.
func leaks(w *world, numbers ...int) {
	w.set(func() {
		w.memory = func(p *fakeProc) uint64 {
			for _, n := range numbers {
				if n < len(w.procs) && w.procs[n] == p {
					return 900 << 20
				}
			}
			return 100 << 20
		}
	})
}

// recycled returns what the history says of recyclings.
func recycled(w *world) (list []Outcome) {
	synctest.Wait()
	w.set(func() {
		for _, o := range w.records {
			if o.Who == recycler {
				list = append(list, o)
			}
		}
	})
	return list
}

const limit800 = 800 << 20

func TestAWorkerWithTooMuchMemoryIsReplacedByOneThatHasProvedItself(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 3 * time.Second, stopTakes: time.Second}
		recycles(w, Recycle{Memory: limit800}, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Hour)
		if len(w.procs) != 1 {
			t.Fatalf("%d workers while all was well", len(w.procs))
		}
		w.stopping = func(p *fakeProc) {
			if w.procs[1].asked < 3 {
				t.Errorf("worker %d is told to stop before its successor has proved itself", p.pid)
			}
		}
		leaks(w, 0)
		time.Sleep(30 * time.Second)
		list := recycled(w)
		if len(w.procs) != 2 || w.procs[0].alive() || !w.procs[1].alive() || !slices.Equal(w.gate.turns, []int{1, 2}) {
			t.Errorf("%d workers, and the gate went to %v", len(w.procs), w.gate.turns)
		}
		if len(list) != 1 || list[0].Kind != string(Restart) || list[0].Result != Done ||
			!slices.Equal(list[0].Warnings, []string{"web.0 uses 900 MiB of memory, and recycle.memory is 800 MiB"}) {
			t.Errorf("%+v", list)
		}
		if st := s.Status(); st.Changing != nil || len(st.Generations) != 1 || st.Health != HealthOK {
			t.Errorf("status %+v", st)
		}
	})
}

func TestOneInstanceIsRecycledAndTheOthersServeOn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		recycles(w, Recycle{Memory: limit800}, nil)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer func() { stop() }()
		switchTo(t, s, "r1")
		web := slices.DeleteFunc(w.processes(), func(p *fakeProc) bool { return p.spec.Process != "web" })
		w.stopping = func(p *fakeProc) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.running["web"] != 5 {
				t.Errorf("%d run when worker %d is told to stop", w.running["web"], p.pid)
			}
		}
		leaks(w, slices.Index(w.procs, web[1]), slices.Index(w.procs, web[2]))
		time.Sleep(time.Minute)
		w.set(func() { w.stopping = nil })
		whole(t, w, s, "r1")
		for i, p := range web {
			if p.alive() == (i == 1 || i == 2) {
				t.Errorf("worker %d runs: %t", i, p.alive())
			}
		}
		list := recycled(w)
		if len(list) != 2 || len(w.procs) != 8 || w.peak["web"] != 5 || w.peak["worker"] != 2 {
			t.Errorf("%d recyclings, %d workers, at once %v", len(list), len(w.procs), w.peak)
		}
		leaveNow(s) // the next daemon adopts all, and goes on
		stop()
		s, stop = w.supervisor(dir)
		leaks(w, slices.Index(w.procs, web[0]))
		time.Sleep(time.Minute)
		whole(t, w, s, "r1")
		if n := len(recycled(w)); n != 3 || web[0].alive() || !web[3].alive() || len(w.procs) != 9 {
			t.Errorf("%d recyclings, %d workers", n, len(w.procs))
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		whole(t, w, s, "r2")
	})
}

func TestADaemonThatDiesWhileAnInstanceIsRecycledLosesNone(t *testing.T) {
	for _, point := range []string{
		"before resolve", "before roll", "after roll", "before cutover", "after cutover", "before retire", "after retire",
	} {
		t.Run(point, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				rollingWorld(w)
				recycles(w, Recycle{Memory: limit800}, nil)
				var s *Supervisor
				var armed atomic.Bool
				w.options = func(opt *Options) {
					opt.Fault = func(at string) {
						if at == "restart: "+point && armed.CompareAndSwap(true, false) {
							leaveNow(s)
						}
					}
				}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				armed.Store(true)
				leaks(w, 1)
				time.Sleep(time.Minute)
				if armed.Load() {
					t.Fatalf("there was no point %q", point)
				}
				stop()
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(3 * time.Minute)
				whole(t, w, s, "r1")
				if w.procs[1].alive() {
					t.Error("the worker that leaks runs")
				}
			})
		})
	}
}

func TestNothingIsRecycledDuringAChangeOrARun(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{answerAfter: 50 * time.Second}
		recycles(w, Recycle{Memory: limit800}, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(5 * time.Second)
		leaks(w, 0)
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		leaks(w, 1)
		release, ended := locked(t, s, "a-run")
		time.Sleep(10 * time.Minute)
		if list := recycled(w); len(list) > 0 || len(w.procs) != 2 {
			t.Errorf("%+v", list)
		}
		release()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if n := len(recycled(w)); n != 1 {
			t.Errorf("%d recyclings after the end of the run", n)
		}
	})
}

func TestAChangeThatMeetsARecyclingWaitsForItAndIsNotRefused(t *testing.T) {
	for name, c := range map[string]struct {
		strategy Strategy
		after    time.Duration // from the measurement
		recycled int
	}{
		"its successor starts":           {Overlap, 2 * time.Second, 0},
		"its successor is proved":        {Overlap, 5500 * time.Millisecond, 1},
		"an instance's successor starts": {Rolling, 2 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{answerAfter: 5 * time.Second, stopTakes: 8 * time.Second}
				w.releases["r2"] = behaviour{}
				recycles(w, Recycle{Memory: limit800}, func(p *Plan) {
					p.Processes[0].Strategy, p.Processes[0].Surge, p.Processes[0].Instances = c.strategy, 1, 2
				})
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				leaks(w, 0)
				for s.Status().Changing == nil {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(c.after)
				want(t, s, switchTo(t, s, "r2"), Done, "r2")
				if st := s.Status(); st.Last.Kind != string(Switch) {
					t.Errorf("the last change is %+v", st.Last)
				}
				time.Sleep(time.Minute)
				if list := recycled(w); len(list) != c.recycled {
					t.Errorf("%d recyclings are in the history: %+v", len(list), list)
				}
				if w.running["web"] != 2 {
					t.Errorf("%d run", w.running["web"])
				}
			})
		})
	}
}

func TestALimitBelowWhatAnAppNeedsMakesNoStormOfRestarts(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		recycles(w, Recycle{Memory: limit800}, nil)
		w.memory = func(*fakeProc) uint64 { return 900 << 20 }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(6 * time.Hour)
		list := recycled(w)
		if n := len(list); n < 9 || n > 13 { // at once, and after 1, 2, 4, 8, 16, 32 and each 60 minutes
			t.Errorf("%d recyclings in 6 hours", n)
		}
		if !strings.Contains(list[1].Warnings[0], "; the last attempt to replace it was 1 min") {
			t.Errorf("%q", list[1].Warnings)
		}
		if st := s.Status(); len(st.Troubles) != 1 || st.Health != HealthOK || !strings.HasPrefix(st.Troubles[0].Why,
			"web.0 uses 900 MiB of memory, and recycle.memory is 800 MiB; superctl replaces it again in ") {
			t.Errorf("the status has %+v, health %s", st.Troubles, st.Health)
		}
	})
}

// A worker can leak so fast that it is above its limit when it is first measured, or its first
// measurement can be late: the old worker of the same change may finish long requests until then.
func TestAWorkerThatLeaksIsReplacedEvenIfItsFirstMeasurementIsAboveTheLimit(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		recycles(w, Recycle{Memory: limit800}, nil)
		var most uint64
		w.memory = func(p *fakeProc) uint64 {
			used := 100<<20 + uint64(time.Since(p.born)/time.Second)*(90<<20)
			most = max(most, used)
			return used
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Hour)
		if n := len(recycled(w)); n < 100 || most > 3*limit800 {
			t.Errorf("%d recyclings in an hour, and a worker had %d MiB", n, most>>20)
		}
	})
}

func TestAWorkerWhoseSuccessorFailsServesOn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		nth(w, "r1", 2, behaviour{answer: func(int) int { return 500 }})
		recycles(w, Recycle{Memory: limit800}, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(15 * time.Second) // it is measured
		leaks(w, 0)
		time.Sleep(50 * time.Second)
		list, serves := recycled(w), false
		w.set(func() { serves = w.procs[0].alive() && !w.procs[0].stopped })
		if len(list) != 1 || list[0].Result != Aborted || !serves {
			t.Fatalf("%+v", list)
		}
		time.Sleep(2 * time.Minute)
		if list := recycled(w); len(list) != 2 || list[1].Result != Done || w.procs[0].alive() {
			t.Errorf("%+v", list)
		}
	})
}

func TestInstancesOfOneAgeAreNotRecycledTogether(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		rollingWorld(w)
		recycles(w, Recycle{Every: 24 * time.Hour}, nil)
		measured := 0
		w.memory = func(*fakeProc) uint64 { measured++; return 900 << 20 }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		began := time.Now()
		time.Sleep(24 * time.Hour)
		whole(t, w, s, "r1")
		list := recycled(w)
		if len(list) != 4 || measured > 0 {
			t.Fatalf("%d recyclings in a day, %d measurements of memory", len(list), measured)
		}
		for i, o := range list {
			if after := o.Started.Sub(began); after < 21*time.Hour || i > 0 && o.Started.Sub(list[i-1].Started) < 10*time.Second {
				t.Errorf("number %d began after %s", i, after)
			}
			if why := o.Warnings[0]; !strings.Contains(why, " has run for 2") || !strings.HasSuffix(why, ", less up to 10 % at random") {
				t.Errorf("number %d: %s", i, why)
			}
		}
	})
}

func TestAWorkerIsRecycledAfterItsRequests(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		recycles(w, Recycle{Requests: 1000}, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 890, 0, 0)
		time.Sleep(time.Minute)
		if n := len(recycled(w)); n > 0 {
			t.Fatalf("%d recyclings after 890 requests", n)
		}
		serve(t, w, 1, 0, 110, 0, 0)
		time.Sleep(time.Minute)
		if list := recycled(w); len(list) != 1 ||
			list[0].Warnings[0] != "web.0 has had 1000 requests, and recycle.requests is 1000" {
			t.Errorf("%+v", list)
		}
		serve(t, w, 2, 0, 800, 0, 0)
		if err := w.procs[1].KillAll(); err != nil { // its successor begins to count where it has ended
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		serve(t, w, 2, 0, 800, 0, 0)
		time.Sleep(time.Minute)
		if n := len(recycled(w)); n != 1 {
			t.Errorf("%d recyclings", n)
		}
	})
}

func TestALimitWithoutEffectIsInTheStatus(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		recycles(w, Recycle{Memory: limit800, Requests: 1000}, nil)
		w.memory = func(*fakeProc) uint64 { return 0 }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		var whys []string
		for _, trouble := range s.Status().Troubles {
			whys = append(whys, trouble.Of+": "+trouble.Why)
		}
		if !slices.Equal(whys, []string{
			"web.0: recycle.memory has no effect: its memory cannot be measured",
			"web.0: recycle.requests has no effect: its requests are not counted",
		}) {
			t.Errorf("%q", whys)
		}
	})
}

func TestARecyclingKeepsTheWayBackWarm(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		recycles(w, Recycle{Memory: limit800}, func(p *Plan) { p.Standby = time.Hour })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		leaks(w, 1)
		time.Sleep(time.Minute)
		if n := len(recycled(w)); n != 1 || !w.procs[0].alive() {
			t.Fatalf("%d recyclings, and the release before is warm: %t", n, w.procs[0].alive())
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		if len(w.procs) != 3 {
			t.Errorf("%d workers were started", len(w.procs))
		}
	})
}

func TestABackgroundWorkerIsRecycledInItsPlace(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{stopTakes: time.Second}
		w.plan = func(p Plan) Plan {
			b := background("worker", Overlap)
			b.Instances, b.Recycle = 2, &Recycle{Memory: limit800, Interval: 10 * time.Second}
			p.Processes = append(p.Processes, b)
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		leaks(w, 1)
		time.Sleep(time.Minute)
		if n := len(recycled(w)); n != 1 || w.procs[1].alive() || !w.procs[2].alive() || w.peak["worker"] != 2 {
			t.Errorf("%d recyclings, at once ran %v", n, w.peak)
		}
	})
}

func TestWhatHasNoLimitsIsNotMeasured(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.memory = func(*fakeProc) uint64 { panic("it is measured") }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(24 * time.Hour)
	})
}
