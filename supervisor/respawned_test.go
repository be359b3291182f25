package supervisor

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

func TestAWorkerThatTheStateFileDoesNotKnowIsAdopted(t *testing.T) {
	for _, at := range []string{
		"", "before boot", "after boot", "after prove", "before cutover", "after cutover", "after settle",
		"after probation", "after retire",
	} {
		t.Run(cmp.Or(at, "at rest"), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
				w.plan = func(p Plan) Plan {
					p.Processes = append(p.Processes, background("beat", Single))
					return p
				}
				dir := t.TempDir()
				first, stopFirst := w.supervisor(dir)
				switchTo(t, first, "r1")
				dead := make(chan struct{})
				if at != "" {
					first.opt.Fault = func(point string) {
						if point == "switch: "+at {
							<-dead
						}
					}
					go func() {
						_, _ = first.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
					}()
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				respawned := w.respawnUnsaved()
				leaveNow(first)
				next, stop := w.supervisor(dir)
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				st := next.Status()
				if st.Health != HealthOK || len(st.Generations) != 1 {
					t.Errorf("%+v", st)
				}
				if w.peak["beat"] != 1 {
					t.Errorf("%d beats ran at once", w.peak["beat"])
				}
				for _, p := range respawned {
					if p.spec.Release == st.Release && (!p.alive() || p.killed) {
						t.Errorf("%s.%d of generation %d, which serves, was not adopted",
							p.spec.Process, p.spec.Instance, p.spec.Generation)
					}
				}
				stop()
				w.bury(dead, stopFirst)
			})
		})
	}
}

// respawnUnsaved ends every worker of the generation that connections reach, and returns those that
// take their places. From here on the daemon saves nothing.
func (w *world) respawnUnsaved() (respawned []*fakeProc) {
	w.t.Helper()
	w.set(func() { w.disk = func(string) bool { return false } })
	before := w.processes()
	for _, p := range before {
		if p.alive() && p.spec.Generation == w.gate.reached {
			p.die(worker.Exit{Known: true, Code: 3})
		}
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()
	for _, p := range w.processes()[len(before):] {
		if p.alive() {
			respawned = append(respawned, p)
		}
	}
	if len(respawned) == 0 {
		w.t.Fatal("no worker was started again")
	}
	return respawned
}

func TestAWorkerThatIsSomethingElseIsNotAdopted(t *testing.T) {
	for name, change := range map[string]func(f *worker.Found){
		"another user's":        func(f *worker.Found) { f.UID++ },
		"an unknown process's":  func(f *worker.Found) { f.Process = "web2" },
		"an unknown generation": func(f *worker.Found) { f.Generation = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				respawned := w.respawnUnsaved()
				leaveNow(s)
				stop()
				w.found = func(f worker.Found) worker.Found { change(&f); return f }
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(time.Minute)
				synctest.Wait()
				if respawned[0].alive() {
					t.Error("it was adopted")
				}
				if st := s.Status(); st.Health != HealthOK {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestAFoundWorkerNamesNoFileButItsOwn(t *testing.T) {
	s := New(Options{App: "shop", State: "/state", Hook: "/hook"})
	place := worker.Found{Generation: 3, Process: "web", Instance: 1}
	for path, want := range map[string]string{
		"/hook/g3.web.1": "/hook/g3.web.1", "/hook/g3.web.0": "", "/etc/passwd": "", "/hook/../etc/g3.web.1": "",
	} {
		place.Flag = path
		if got := newRecovery(s).flagOf(place); got != want {
			t.Errorf("flag %s: %q", path, got)
		}
	}
	for path, own := range map[string]bool{
		"/state/log/g3.web.1.X": true, "/state/log/g2.web.1.X": true,
		"/state/log/g3.web.10.X": false, "/state/log/g3.beat.1.X": false,
		"/etc/g3.web.1.X": false, "/state/state.json": false, "": false,
	} {
		place.Output = path
		if got := newRecovery(s).outputOf(place, "recorded"); (got == path) != own ||
			!own && !strings.HasPrefix(got, "recorded") {
			t.Errorf("output %s: %q", path, got)
		}
	}
}

func TestAnAdoptedWorkerThatHasSaidReadyServesOn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan {
			p.Processes[0].Notify, p.Processes[0].Health = true, nil
			return p
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		go func() {
			time.Sleep(5 * time.Second)
			s.post(func() {
				s.mailbox.deliver(worker.Message{Lineage: []int{w.newest("r1").pid}, Fields: map[string]string{"READY": "1"}})
			})
		}()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		respawned := w.respawnUnsaved() // it says READY=1 to this daemon, and the next one cannot know that
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Health != HealthOK || !respawned[0].alive() {
			t.Errorf("alive: %t; %+v", respawned[0].alive(), st)
		}
	})
}

func TestTheListenersOfAFoundWorkerAreThoseThatItWasGiven(t *testing.T) {
	const web, other = 3, 2 // generations
	own := lane(web, 0)
	first := []memberState{{Gen: own, Inode: 11, Users: []int{web}}, {Gen: lane(other, 0), Inode: 12}, {Gen: lane(other, 1), Inode: 13}}
	for name, c := range map[string]struct {
		given map[string]uint64
		own   map[string]int
		want  []memberState
	}{
		"the file knows it": {map[string]uint64{"web": 11}, map[string]int{"web": own}, first},
		"in the place of one that was closed": {
			map[string]uint64{"web": 14},
			map[string]int{"web": own},
			[]memberState{first[2], first[1], {Gen: own, Inode: 14, Users: []int{web}}},
		},
		"by a daemon that did not say": {nil, map[string]int{"web": own}, first},
		"of another name":              {map[string]uint64{"admin": 14}, map[string]int{"web": own}, first},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := New(Options{App: "shop", State: t.TempDir(), Gates: []Gate{w.gate}})
			g := &generation{
				owner: s, id: web, gates: s.listeners.gates,
				plan: Plan{Processes: []Process{{Name: "web", Strategy: Rolling, Listen: []string{"web"}}}},
			}
			st := state{Listeners: map[string][]memberState{"web": slices.Clone(first)}}
			ws := workerState{Process: "web", Own: map[string]int{"web": own}}
			newRecovery(s).learnListeners(&st, g, &ws, c.given)
			if !reflect.DeepEqual(st.Listeners["web"], c.want) || !maps.Equal(ws.Own, c.own) {
				t.Errorf("listeners %+v, its own %v", st.Listeners["web"], ws.Own)
			}
		})
	}
}
