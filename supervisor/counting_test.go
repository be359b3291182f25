package supervisor

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/proc"
	"superctl/supervisor/health"
)

// pagesOf is the directory in which the newest worker in a place counts.
func pagesOf(t *testing.T, w *world, generation, instance int) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range slices.Backward(w.procs) {
		if p.spec.Generation == generation && p.spec.Instance == instance {
			return p.spec.Requests
		}
	}
	t.Fatalf("generation %d has no instance %d", generation, instance)
	return ""
}

// serve has a worker count: that many answers with status 200 and 500, and open requests. Its page
// is that of the process of this test.
func serve(t *testing.T, w *world, generation, instance int, ok, wrong, open uint64) {
	t.Helper()
	self, err := proc.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 2*4096)
	for at, n := range map[int]uint64{
		0: 0x31717253, 8: uint64(self.PID), 16: self.Start, 24: 1, //nolint:gosec // positive
		4096: ok + wrong + open, 4096 + 2*8: ok, 4096 + 5*8: wrong, 4096 + (16+78)*8: ok + wrong, // 1 ms
	} {
		binary.LittleEndian.PutUint64(page[at:], n)
	}
	dir := pagesOf(t, w, generation, instance)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(len(names))), page, 0o600); err != nil {
		t.Fatal(err)
	}
}

// brief is what a status says of requests: started, 5xx, in flight, lost.
func brief(r *Requests) string {
	if r == nil {
		return "not counted"
	}
	return fmt.Sprintf("%d, 5xx %d, in flight %d, lost %d", r.Started, r.Status5xx, r.InFlight, r.Lost)
}

// counted returns the status of a moment at which nothing is remembered.
func counted(s *Supervisor) Status {
	time.Sleep(measureEvery)
	return s.Status()
}

func TestTheRequestsOfAWorkerAreToldByInstanceProcessAndGeneration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan { p = base(p); p.Processes[0].Instances = 2; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 2)
		serve(t, w, 1, 1, 20, 0, 0)
		st := counted(s)
		g := st.Generations[0]
		for what, c := range map[string]struct {
			got  *Requests
			want string
		}{
			"web.0":      {g.Workers[0].Requests, "13, 5xx 1, in flight 2, lost 0"},
			"web.1":      {g.Workers[1].Requests, "20, 5xx 0, in flight 0, lost 0"},
			"web":        {st.Processes[0].Requests, "33, 5xx 1, in flight 2, lost 0"},
			"generation": {g.Requests, "33, 5xx 1, in flight 2, lost 0"},
			"app":        {st.Requests, "33, 5xx 1, in flight 2, lost 0"},
		} {
			if got := brief(c.got); got != c.want {
				t.Errorf("%s: %s, not %s", what, got, c.want)
			}
		}
		if p := g.Requests.P99; p == nil || *p < 0.00095 || *p > 0.00105 || len(g.Uncounted) > 0 {
			t.Errorf("%v, %v", p, g.Uncounted)
		}
	})
}

func TestTheRequestsOfAWorkerThatDiedAreKept(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 0)
		if err := w.procs[0].KillAll(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.procs) != 2 {
			t.Fatalf("%d workers were started", len(w.procs))
		}
		serve(t, w, 1, 0, 5, 0, 0)
		if got := brief(counted(s).Generations[0].Requests); got != "16, 5xx 1, in flight 0, lost 0" {
			t.Error(got)
		}
	})
}

func TestTheRequestsOfAPlaceThatWasScaledAwayAreKept(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Processes[0].Strategy, p.Processes[0].Surge = api.Rolling, 1
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		change1(t, s, Request{Kind: Scale, Instances: map[string]int{"web": 2}})
		serve(t, w, 1, 0, 1, 0, 0)
		serve(t, w, 1, 1, 10, 0, 0)
		change1(t, s, Request{Kind: Scale, Instances: map[string]int{"web": 1}})
		time.Sleep(time.Minute)
		st := counted(s)
		for _, r := range []*Requests{st.Generations[0].Requests, st.Processes[0].Requests, st.Requests} {
			if got := brief(r); got != "11, 5xx 0, in flight 0, lost 0" {
				t.Error(got)
			}
		}
	})
}

func TestTheRequestsOfAGenerationThatIsGoneCountForTheApp(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 1)
		switchTo(t, s, "r2")
		time.Sleep(time.Minute)
		serve(t, w, 2, 0, 5, 0, 0)
		st := counted(s)
		if len(st.Generations) != 1 || brief(st.Generations[0].Requests) != "5, 5xx 0, in flight 0, lost 0" ||
			brief(st.Requests) != "17, 5xx 1, in flight 0, lost 1" {
			t.Errorf("%s, of the app %s", brief(st.Generations[0].Requests), brief(st.Requests))
		}
		if _, err := os.Stat(pagesOf(t, w, 1, 0)); !os.IsNotExist(err) {
			t.Errorf("its pages are left: %v", err)
		}
	})
}

func TestTheNextDaemonCountsOn(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 2)
		before := counted(s)
		leaveNow(s)
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		after := counted(s)
		if brief(after.Requests) != brief(before.Requests) ||
			brief(after.Generations[0].Workers[0].Requests) != "13, 5xx 1, in flight 2, lost 0" {
			t.Errorf("%s, before %s", brief(after.Requests), brief(before.Requests))
		}
	})
}

func TestRequestsAreReadAtMostOnceASecond(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 0, 0)
		counted(s)
		serve(t, w, 1, 0, 5, 0, 0)
		if got := s.Status().Requests.Started; got != 10 {
			t.Errorf("%d in the same second", got)
		}
		if got := counted(s).Requests.Started; got != 15 {
			t.Errorf("%d a second later", got)
		}
	})
}

func TestAWorkerThatHasBecomeReadyMeanwhileIsReadAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		w.releases["r2"] = behaviour{answerAfter: measureEvery / 2}
		switchTo(t, s, "r1")
		go switchTo(t, s, "r2")
		time.Sleep(measureEvery / 4)
		counts := func(state string) bool {
			g := s.Status().Generations[0]
			return g.ID == 2 && g.Workers[0].State == state && g.Requests != nil && len(g.Uncounted) == 0
		}
		if counts(string(InstanceStarting)) {
			t.Error("it counts before it has begun")
		}
		if err := os.WriteFile(filepath.Join(pagesOf(t, w, 2, 0), ".counts"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(measureEvery / 2)
		if !counts(string(InstanceReady)) {
			t.Errorf("%+v", s.Status().Generations[0])
		}
	})
}

func TestPagesAreFoldedWithoutAStatus(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.options
		var beats atomic.Int64
		w.options = func(o *Options) {
			base(o)
			o.Beat, o.BeatEvery = func() { beats.Add(1) }, 5*time.Second
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		dir := pagesOf(t, w, 1, 0)
		for n := range 3 {
			page := make([]byte, 2*4096)
			for at, n := range map[int]uint64{0: 0x31717253, 8: 1 << 30, 16: 1, 24: 1, 4096: 1, 4096 + 2*8: 1} {
				binary.LittleEndian.PutUint64(page[at:], n)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), page, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(foldEvery + time.Minute)
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || beats.Load() < 100 {
			t.Errorf("%v, pages left: %d after %d beats", err, len(left), beats.Load())
		}
		if got := brief(counted(s).Requests); got != "3, 5xx 0, in flight 0, lost 0" {
			t.Error(got)
		}
	})
}

func TestAServerThatDoesNotCountIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		mark bool
		want string
	}{"it does not": {want: "[{web uwsgi}]"}, "it counts, and nothing was asked yet": {mark: true, want: "[]"}} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				withDrainHook(t, w)
				base := w.plan
				w.plan = func(p Plan) Plan { p = base(p); p.Processes[0].Server = "uwsgi"; return p }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				if c.mark {
					if err := os.WriteFile(filepath.Join(pagesOf(t, w, 1, 0), ".counts"), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				g := counted(s).Generations[0]
				if got := fmt.Sprint(g.Uncounted); got != c.want || (g.Requests != nil) != c.mark {
					t.Errorf("%s, requests %s", got, brief(g.Requests))
				}
			})
		})
	}
}

func TestAWorkerKnowsThePathsOfItsHealthChecks(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		base := w.plan
		w.plan = func(p Plan) Plan {
			p = base(p)
			p.Processes[0].Health.Path = "/healthz/?full=1"
			p.Processes[0].Health.More = []health.Check{
				{Path: "/db", Timeout: time.Second},
				{Kind: health.TCP, Timeout: time.Second},
				{Path: "/mine", Timeout: time.Second, Headers: map[string]string{"user-agent": "probe"}},
			}
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.mu.Lock()
		defer w.mu.Unlock()
		if got := fmt.Sprintf("%q", w.procs[0].spec.Probes); got != `["/healthz/" "/db"]` {
			t.Error(got)
		}
	})
}

func TestTheRequestsOfAGenerationThatHasJustEndedAreCounted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 0)
		listed := brief(counted(s).Requests)
		st := Status{Generations: []GenerationStatus{}} // the generation has left the list, and is not folded yet
		of := s.counts.fill(&st, nil)
		if got := brief(st.Requests); got != listed {
			t.Errorf("%s, and before %s", got, listed)
		}
		if len(of) != 1 || of[0].Process != "web" || of[0].Generation != 0 || brief(&of[0].Requests) != listed {
			t.Errorf("by process: %+v", of)
		}
	})
}

func TestTheMeasuresHaveEachProcessOfEachGeneration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		withDrainHook(t, w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		serve(t, w, 1, 0, 10, 1, 0)
		switchTo(t, s, "r2")
		serve(t, w, 2, 0, 5, 0, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		var all, durations uint64
		got := make(map[string]string)
		for _, of := range s.Measures().Requests {
			got[fmt.Sprintf("%s of %d %s", of.Process, of.Generation, of.Release)] = brief(&of.Requests)
			all += of.Requests.Started
			for _, n := range of.Durations {
				durations += n
			}
		}
		if want := "6, 5xx 0, in flight 1, lost 0"; got["web of 2 r2"] != want || all != 17 || durations != 16 {
			t.Errorf("%v; %d requests, %d durations", got, all, durations)
		}
	})
}
