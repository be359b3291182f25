package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"superctl/supervisor/worker"
)

func TestAGenerationFinishesWithTheListenerItWasStartedWith(t *testing.T) {
	for name, change := range map[string]func(w *world, o *Options, p *Plan){
		"removed": func(w *world, o *Options, p *Plan) {},
		"renamed": func(w *world, o *Options, p *Plan) {
			o.Gates = append(o.Gates, renamed(w, "adm", ""))
			p.Processes[0].Listen = []string{"web", "adm"}
		},
		"moved": func(w *world, o *Options, p *Plan) {
			o.Gates = append(o.Gates, renamed(w, "admin", "127.0.0.1:9999"))
			p.Processes[0].Listen = []string{"web", "admin"}
		},
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, known %v", name, known), func(t *testing.T) {
				virtual(t, func(t *testing.T, w *world) {
					w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: time.Second}, behaviour{}
					admin := w.newGate("admin")
					w.options = func(o *Options) { o.Gates = []Gate{w.gate, admin} }
					w.plan = func(p Plan) Plan {
						p.Processes[0].Listen = []string{"web", "admin"}
						p.Processes[0].DrainConnections = time.Minute
						return p
					}
					dir := t.TempDir()
					s, stop := w.supervisor(dir)
					switchTo(t, s, "r1")
					leaveNow(s)
					stop()
					w.options = func(o *Options) {
						o.Gates = []Gate{w.gate}
						change(w, o, &Plan{Processes: []Process{{}}})
						if known {
							o.Former = func(string, string, string) (Gate, error) { return w.gates[1], nil }
						}
					}
					w.plan = func(p Plan) Plan {
						p.Processes[0].Listen = []string{"web"}
						change(w, &Options{}, &p)
						return p
					}
					s, stop = w.supervisor(dir)
					defer stop()
					want(t, s, switchTo(t, s, "r2"), Done, "r2")
					time.Sleep(5 * time.Minute)
					synctest.Wait()
					if st := s.Status(); len(st.Generations) != 1 || w.procs[0].alive() {
						t.Errorf("%+v", st)
					}
					if left := w.gates[1].sockets(); known && len(left) != 0 {
						t.Errorf("its listeners are still there: %v", left)
					}
				})
			})
		}
	}
}

// renamed is a gate of a new config; a test asks for it more than once.
func renamed(w *world, name, address string) *fakeGate {
	for _, g := range w.gates {
		if g.name == name && g.address == address {
			return g
		}
	}
	g := w.newGate(name)
	g.address = address
	return g
}

func TestARevertAfterARestartGoesBackToWhereTheChangeCameFrom(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) { revertsAfterARestart(t, w, rand.New(rand.NewPCG(seed, 8))) })
		})
	}
}

// revertsAfterARestart has a release fail under the next daemon, in its probation, while several
// others are warm.
func revertsAfterARestart(t *testing.T, w *world, random *rand.Rand) {
	t.Helper()
	w.plan = func(p Plan) Plan { p.Standby = time.Hour; return p }
	dir := t.TempDir()
	s, stop := w.supervisor(dir)
	names := []string{"r1", "r2", "r3", "r4"}
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:2+random.IntN(3)]
	for _, name := range names {
		w.set(func() { w.releases[name] = behaviour{} })
		switchTo(t, s, name)
	}
	w.set(func() { w.releases["new"] = behaviour{} })
	go func() { _, _ = s.Change(context.Background(), Request{Kind: Switch, Release: "new"}, func(Event) {}) }()
	time.Sleep(2*time.Second + time.Duration(random.IntN(6000))*time.Millisecond)
	synctest.Wait()
	if s.Status().Release != "new" {
		t.Fatal("it is not on probation")
	}
	leaveNow(s)
	stop()
	s, stop = w.supervisor(dir)
	defer stop()
	time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
	w.newest("new").die(worker.Exit{Known: true, Code: 3})
	time.Sleep(30 * time.Second)
	synctest.Wait()
	if got, from := s.Status().Release, names[len(names)-1]; got != from {
		t.Errorf("%s is live, want %s of %v", got, from, names)
	}
}

// newest is the worker of a release that was started last.
func (w *world) newest(release string) *fakeProc {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range slices.Backward(w.procs) {
		if p.spec.Release == release {
			return p
		}
	}
	w.t.Fatalf("no worker of %s", release)
	return nil
}

func TestAnAdoptedDrainingWorkerKeepsItsConnections(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		lingering(w)
		w.gate.connections = func(gen int) int { return map[int]int{1: 2}[gen] }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(10 * time.Second)
		leaveNow(s)
		stop()
		_, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(3 * time.Second)
		if signalled(w, 0) {
			t.Error("it was told to stop although two connections are open")
		}
	})
}

func TestARollbackAtTheEndOfAProbationRollsBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		var s *Supervisor
		result := make(chan *Outcome, 1)
		armed := false
		w.options = func(o *Options) {
			o.Fault = func(point string) {
				if armed && point == "switch: after probation" {
					go func() {
						out, _ := s.Change(context.Background(), Request{Kind: Rollback}, func(Event) {})
						result <- out
					}()
					synctest.Wait()
				}
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		armed = true
		if out := switchTo(t, s, "r2"); out.Result != Reverted {
			t.Errorf("the switch: %+v", out)
		}
		want(t, s, <-result, Done, "r1")
	})
}

func TestADaemonThatHasHandedOverWritesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		const theirs = "what the next daemon has saved"
		kept := newShelf(w)
		renewing(w, func([]Descriptor) error {
			clear(kept.kept)
			return os.WriteFile(filepath.Join(dir, stateName), []byte(theirs), 0o600)
		})
		inner := w.options
		w.options = func(o *Options) { inner(o); o.Store = kept }
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		change1(t, s, Request{Kind: Upgrade})
		stop()
		w.newest("r1").die(worker.Exit{}) // there is no next daemon to do it
		if data, err := os.ReadFile(filepath.Join(dir, stateName)); err != nil || string(data) != theirs {
			t.Errorf("the state is %q, %v", data, err)
		}
		if len(kept.kept) != 0 {
			t.Errorf("it has stored %s", kept.names())
		}
	})
}

func TestWhatIsSaidDuringAnUpgradeIsHeardByTheNextDaemon(t *testing.T) {
	w := newWorld(t)
	w.releases["r1"] = behaviour{}
	w.plan = func(p Plan) Plan { p.Probation = 0; return p }
	run, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	path := filepath.Join(run, "n")
	say := func(text string) {
		c, err := net.Dial("unixgram", path)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Error(err)
		}
	}
	fd := -1
	renewing(w, func(all []Descriptor) error {
		for _, d := range all {
			if d.Name == notifyName {
				_ = d.Use(func(f int) error { fd, _ = unix.Dup(f); return nil })
			}
		}
		say("READY=1")
		return nil
	})
	inner := w.options
	w.options = func(o *Options) { inner(o); o.Notify = path }
	s, stop := w.supervisor(t.TempDir())
	switchTo(t, s, "r1")
	change1(t, s, Request{Kind: Upgrade})
	say("STATUS=later")
	stop()
	defer unix.Close(fd)
	for _, want := range []string{"READY=1", "STATUS=later"} {
		buf := make([]byte, 100)
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("heard %q, %v; want %q", buf[:max(n, 0)], err, want)
		}
	}
}

func TestASaveThatFailsIsTriedAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		mend := breakDisk(t, dir)
		w.newest("r1").die(worker.Exit{Known: true, Code: 3})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		mend()
		time.Sleep(2 * lastBackoff)
		synctest.Wait()
		st, err := New(Options{App: "shop", State: dir}).journal.load()
		if err != nil {
			t.Fatal(err)
		}
		if saved, now := st.Generations[0].Workers[0].PID, liveWorker(t, s); saved != now {
			t.Errorf("the state has worker %d, and %d runs", saved, now)
		}
	})
}

// breakDisk makes every save fail until mend is called.
func breakDisk(t *testing.T, dir string) (mend func()) {
	t.Helper()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAChangeThatCannotBeSavedDoesNotGoOn(t *testing.T) {
	for at, c := range map[string]struct {
		result Result
		live   string
	}{
		"switch: before boot":    {Aborted, "r1"},
		"switch: before prove":   {Aborted, "r1"},
		"switch: before cutover": {Reverted, "r1"},
		"switch: after cutover":  {Reverted, "r1"},
	} {
		t.Run(at, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
				dir := t.TempDir()
				armed, mend := false, func() {}
				w.options = func(o *Options) {
					o.Fault = func(point string) {
						if armed && point == at {
							mend = breakDisk(t, dir)
						}
					}
				}
				s, stop := w.supervisor(dir)
				defer stop()
				switchTo(t, s, "r1")
				armed = true
				want(t, s, switchTo(t, s, "r2"), c.result, c.live)
				if w.gate.reached != 1 || !w.procs[0].alive() {
					t.Errorf("connections reach generation %d", w.gate.reached)
				}
				mend()
			})
		})
	}
}

// A daemon may die at any point of a change, with any of its descriptors in the store: what the
// file does not know is there, and what it knows is not.
func TestADaemonComesBackWhateverItFinds(t *testing.T) {
	points := []string{
		"before boot", "after boot", "after prove", "before cutover", "after cutover", "after settle",
		"after probation", "after retire",
	}
	for seed := range uint64(64) {
		random := rand.New(rand.NewPCG(seed, 7))
		at := points[random.IntN(len(points))]
		t.Run(fmt.Sprintf("seed %d %s", seed, at), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) { comesBack(t, w, random, "switch: "+at) })
		})
	}
}

func comesBack(t *testing.T, w *world, random *rand.Rand, at string) {
	w.releases["r1"], w.releases["r2"] = behaviour{stopTakes: time.Second}, behaviour{stopTakes: time.Second}
	dir, copied := t.TempDir(), t.TempDir()
	older := random.IntN(2) == 0 // the state file is that of the step before
	var files [][]byte
	first, stopFirst := w.supervisor(dir)
	switchTo(t, first, "r1")
	dead := make(chan struct{})
	first.opt.Fault = func(point string) {
		select {
		case <-dead: // the dead one is let go, to end the test
			return
		default:
		}
		data, err := os.ReadFile(filepath.Join(dir, stateName))
		if err != nil {
			t.Error(err)
		}
		files = append(files, data)
		if point == at {
			<-dead
		}
	}
	go func() {
		_, _ = first.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
	}()
	time.Sleep(time.Minute)
	synctest.Wait()
	file := files[len(files)-1]
	// which have saved, or end what is saved
	if older && len(files) > 1 && at != "switch: after cutover" && at != "switch: after retire" {
		file = files[len(files)-2]
	}
	if err := os.WriteFile(filepath.Join(copied, stateName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	leaveNow(first)
	names := w.handed()
	lost := make(map[string]bool)
	for _, name := range names {
		lost[name] = random.IntN(3) == 0
	}
	extra := "listener/web/g77"
	w.options = func(o *Options) {
		o.Handed = append(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return lost[n] }), extra)
		o.Inherited = func(name string) (int, bool) {
			if name == extra {
				return strangeFD, true
			}
			if lost[name] || !strings.HasPrefix(name, listenerPrefix) {
				return -1, false
			}
			return w.descriptor(name)
		}
	}
	next, stop := w.supervisor(copied)
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	st := next.Status()
	if st.Release == "" || len(st.Generations) != 1 || st.Health != HealthOK {
		t.Errorf("lost %v, older %v: %+v", lost, older, st)
	}
	if live := w.gate.reached; !slices.ContainsFunc(st.Generations, func(g GenerationStatus) bool {
		return g.ID == live
	}) {
		t.Errorf("lost %v: connections reach generation %d", lost, live)
	}
	want(t, next, switchTo(t, next, "r1"), Done, "r1")
	stop()
	w.bury(dead, stopFirst)
}
