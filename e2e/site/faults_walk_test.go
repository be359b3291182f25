package site

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// walk goes through the fault points of one scenario.
type walk struct {
	*harness.App
	t      *testing.T
	faults string // directory of SUPERCTL_FAULT
	told   *ledger
	public string // directory of the static files of all releases; "" = they have none
	next   string // the one of r1 and r2 that is not live when the scenario begins

	requests *load.Run   // of users; nil until the scenario acts
	page     load.Window // in which users get the maintenance page
}

func switchOver(w *walk) { w.Command("switch", w.next) }

func refused(w *walk) { w.Command("switch", "broken") }

// launch starts a daemon and waits until it is ready or has ended.
func (w *walk) launch() { _ = w.Launch("SUPERCTL_FAULT=" + w.faults).Ready() }

// crash kills the running daemon.
func (w *walk) crash() {
	kill(w.t, w.Status().PID)
	w.gone()
}

// crashAt kills the daemon at a point of a switch.
func crashAt(point string) func(*walk) {
	return func(w *walk) {
		w.arm(point)
		if strings.Contains(point, "revert") {
			w.takenBack()
		} else {
			switchOver(w)
		}
		w.gone()
	}
}

// canary is a switch with a canary, which continues if check succeeds.
func canary(check string) func(*walk) {
	return func(w *walk) { w.Command("switch", w.next, "--canary", "50%", "--for", "200ms", "--check", check) }
}

// prepared is a switch that has its word from the beginning.
func (w *walk) prepared() {
	change := w.Converse("switch", w.next, "--prepare")
	change.Type("go")
	change.Wait()
}

// gone waits until no daemon runs.
func (w *walk) gone() {
	harness.Eventually(w.t, "the daemon is gone", func() bool { return w.Command("status").Code != 0 })
	if w.Daemon.Ended() {
		w.Daemon.Wait()
	}
}

// takenBack is a switch whose probation a rollback ends.
func (w *walk) takenBack() {
	w.probation("10m")
	change := w.Begin("switch", w.next)
	harness.Eventually(w.t, "the probation has begun, or the daemon is gone", func() bool {
		st, ok := w.answer()
		return !ok || st.Changing != nil && st.Changing.Step == "probation"
	})
	w.Command("rollback")
	change.Wait()
	w.probation("100ms")
}

// recycled sets a limit that every worker exceeds, so that the daemon recycles web once. It tries again a minute
// later, and the next daemon at once.
func (w *walk) recycled() {
	w.Options.Web = `recycle = { memory = "16M", interval = "1s" }`
	w.WriteConfig()
	w.Command("reload").Want(0)
	harness.Eventually(w.t, "web is recycled, or the daemon is gone", func() bool {
		c := w.Command("history", "-n", "1", "--json")
		_, alive := w.answer()
		return !alive || strings.Contains(c.Stdout(), `"who": "recycling"`)
	})
	if _, alive := w.answer(); !alive {
		w.gone()
		w.launch()
	}
}

// scaled runs a second clock for a while.
func (w *walk) scaled() {
	w.Command("scale", "clock=2")
	w.settled()
	w.Command("scale", "--reset")
	w.settled()
	w.Command("scale", "--reset") // if no daemon was there for that
}

// paused runs no clock for a while.
func (w *walk) paused() {
	w.Command("pause", "clock")
	w.settled()
	w.Command("resume", "clock")
	w.settled()
	w.Command("resume", "clock") // if no daemon was there for that
}

// maintained shows users the maintenance page for a while.
func (w *walk) maintained() {
	w.covered()
	w.page.Began = time.Now()
	w.More(w.requests, 10)
	w.uncovered()
}

// covered shows users the maintenance page.
func (w *walk) covered() {
	w.Command("maintenance", "on")
	if w.settled().Maintenance == nil {
		w.Command("maintenance", "on").Want(0) // the daemon has died before users got the page
	}
}

// uncovered lets users reach the app again.
func (w *walk) uncovered() {
	w.page.Ended = time.Now()
	w.Command("maintenance", "off")
	if w.settled().Maintenance != nil {
		w.Command("maintenance", "off").Want(0)
		w.settled()
	}
}

func (w *walk) probation(lasts string) {
	w.Options.Top = "probation = " + strconv.Quote(lasts)
	w.WriteConfig()
}

// arm makes the next daemon that passes the point die there.
func (w *walk) arm(point string) {
	w.write("kill", point)
}

// armed returns the point that no daemon has passed yet.
func (w *walk) armed() string {
	point, err := os.ReadFile(filepath.Join(w.faults, "kill"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(point)
}

func (w *walk) write(name, text string) {
	path := filepath.Join(w.faults, name)
	err := os.WriteFile(path+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// answer returns the status, if a daemon answers.
func (w *walk) answer() (st harness.Status, ok bool) {
	c := w.Command("status", "--json")
	if c.Code != 0 {
		return st, false
	}
	return c.Status(), true
}

// settled waits until a daemon runs and no change is in progress. It starts a daemon if there is
// none, and ends a probation that continues after a crash as takenBack would have.
func (w *walk) settled() (st harness.Status) {
	harness.Eventually(w.t, "a daemon runs and no change is in progress", func() bool {
		var ok bool
		if st, ok = w.answer(); !ok {
			if w.Daemon.Ended() {
				w.Daemon.Wait()
				w.launch()
			}
			return false
		}
		if st.Changing != nil && st.Changing.Step == "probation" && time.Since(st.Changing.Since) > time.Second {
			w.Command("rollback")
		}
		resting := func(g harness.Generation) bool {
			return g.State == "live" || g.State == "standby" || st.Maintenance != nil && g.ID == st.Maintenance.Generation
		}
		healthy := st.Health == "ok" || st.Health == "degraded" && st.Maintenance != nil
		return st.Changing == nil && healthy && len(st.Generations) > 0 &&
			!slices.ContainsFunc(st.Generations, func(g harness.Generation) bool { return !resting(g) })
	})
	return st
}

// run makes one daemon die at the point, or none for "", and checks the app afterwards.
func (w *walk) run(s scenario, point string) {
	w.next = map[string]string{"r1": "r2", "r2": "r1"}[w.settled().Release]
	if s.prepare != nil {
		s.prepare(w)
	}
	if !s.cold {
		w.requests = w.Load(load.Config{})
	}
	w.write("points", "")
	if point != "" {
		w.arm(point)
	}
	s.act(w)
	st := w.settled()
	if left := w.armed(); left != "" {
		w.t.Fatalf("no daemon has passed %q", left)
	}
	if s.cold {
		w.requests = w.Load(load.Config{})
	}
	over := time.Now()
	w.More(w.requests, 10)
	var res *load.Result
	switch {
	case s.held && point != "":
		res = w.requests.Stop()
	case s.paged:
		res = w.answered(over)
	default:
		res = w.Lossless(w.requests)
	}
	if last := res.Records[len(res.Records)-1]; last.Release != st.Release {
		w.t.Errorf("%s answers, %+v", last.Release, st)
	}
	clocks := 0
	for _, g := range st.Generations {
		for _, worker := range g.Workers {
			if worker.Process == "clock" && worker.State == "ready" {
				clocks++
			}
		}
	}
	if st.Maintenance != nil {
		w.t.Errorf("users get a page: %+v", st.Maintenance)
	}
	w.told.complete(w.t, st.Release)
	if clocks != 1 {
		w.t.Errorf("%d clocks run: %+v", clocks, st)
	}
	w.published(st.Release)
	if to, err := filepath.EvalSymlinks(w.Path("current")); err != nil || filepath.Base(to) != st.Release {
		w.t.Errorf("current points to %s, and %s is live (%v)", to, st.Release, err)
	}
}

// answered stops the load, and fails the test if a request was lost, or if users got the page after
// its end, or the app during it.
func (w *walk) answered(over time.Time) *load.Result {
	res := w.requests.Stop()
	if n := statuses(w.t, res, w.page); n[200] > 0 || n[503] == 0 && !w.page.Began.IsZero() {
		w.t.Errorf("during the maintenance: %v", n)
	}
	if n := statuses(w.t, res, load.Window{Began: over, Ended: res.Ended}); n[200] == 0 || len(n) != 1 {
		w.t.Errorf("after the maintenance: %v", n)
	}
	return res
}

// published checks that the static files are those of the live release, and that no other is left.
func (w *walk) published(live string) {
	if w.public == "" {
		return
	}
	entries, err := os.ReadDir(w.public)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "site.txt" && e.Name() != ".superctl" {
			w.t.Errorf("%s is left over", e.Name())
		}
	}
	text, err := os.ReadFile(filepath.Join(w.public, "site.txt"))
	if err != nil || strings.TrimSpace(string(text)) != live {
		w.t.Errorf("site.txt has %q, and %s is live (%v)", text, live, err)
	}
}

// unlimited starts a daemon that has recycled no worker and has no limits.
func (w *walk) unlimited() {
	w.Options.Web = ""
	w.WriteConfig()
	w.Command("reload")
	w.crash()
	w.launch()
	w.settled()
}
