package site

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// everyStep returns the options of an app whose switch has all possible steps.
const (
	clock     = "[process.clock]\ncommand = \"python -m http.server --bind 127.0.0.1 0\"\nready_after = \"50ms\"\n"
	everyHook = "[hooks]\nbefore = [\"true\"]\nafter = [\"true\"]\non_abort = [\"true\"]\non_revert = [\"true\"]\n"
)

func everyStep() harness.Options {
	return harness.Options{Top: `probation = "100ms"`, More: clock + everyHook}
}

// scenario is an operation of the daemon while the app serves. It begins with r1 or r2 live.
type scenario struct {
	name    string
	opt     harness.Options
	prepare func(w *walk)
	act     func(w *walk)
	cold    bool // nothing serves before act
	// connections wait for a daemon; when it dies, only systemd's descriptor store would keep them
	held   bool
	static bool // releases publish a static file
	paged  bool // users get a maintenance page for a while: 503 is an answer
	// at is where the daemon dies in `make test`: points that no other scenario covers; empty =
	// every point. `make test-deaths` walks all points of all scenarios.
	at []string
}

func scenarios() []scenario {
	command := func(args ...string) func(*walk) { return func(w *walk) { w.Command(args...) } }
	warm := everyStep()
	warm.Top += "\nstandby = \"10m\""
	shared := everyStep()
	shared.Listen = `gate = "shared"`
	rolling := everyStep()
	rolling.Web = "strategy = \"rolling\"\ninstances = 2"
	inspected := everyStep()
	inspected.More = strings.Replace(inspected.More, `before = ["true"]`, `before = ["true migrate"]`, 1) + checked
	held := everyStep()
	held.Web = `strategy = "hold"`
	late := everyStep()
	late.Web = "strategy = \"hold\"\nhold = \"4s\"\nhold_page = true"
	late.More = strings.Replace(late.More, `["true"]`, `["sleep 5"]`, 1)
	unix := everyStep()
	unix.Front = harness.Unix
	linked := everyStep()
	linked.More += "\n[shared]\nmedia = \"/var/tmp\"\n"
	published := everyStep()
	// The rename makes a new file, where writing would change the one that is published.
	published.More = strings.Replace(published.More, `["true"]`, `[["sh", "-c", "mkdir -p static && `+
		`echo $SUPERCTL_RELEASE > static/.new && mv static/.new static/site.txt"]]`, 1)
	return []scenario{
		{name: "switch", opt: everyStep(), act: switchOver},
		{name: "switch with shared paths", opt: linked, act: switchOver, at: []string{"switch: after share"}},
		{name: "switch with static files", opt: published, act: switchOver, static: true, at: []string{
			"switch: before publish", "switch: after publish", "switch: after cutover",
		}},
		{
			name: "switch with static files that is taken back", opt: published, act: (*walk).takenBack, static: true,
			at: []string{"switch: before revert", "switch: after revert"},
		},
		{name: "switch on a shared listener", opt: shared, act: switchOver, at: []string{
			"switch: after preflight", "switch: after cutover",
		}},
		{name: "switch that is refused", opt: inspected, act: refused, at: []string{
			"switch: after migrations", "switch: after on_abort",
		}},
		{name: "switch that is taken back", opt: everyStep(), act: (*walk).takenBack, at: []string{
			"switch: before revert", "switch: after revert", "switch: after on_revert",
		}},
		{name: "switch that is held", opt: held, act: switchOver, held: true, at: []string{
			"switch: after quiesce", "switch: after hold", "switch: after drain", "switch: before prove",
		}},
		{name: "switch that is held for too long", opt: late, act: switchOver, held: true, at: []string{
			"switch: after preflight", "switch: before prove",
		}},
		{name: "switch that is held and refused", opt: held, act: refused, held: true, at: []string{
			"switch: after come back",
		}},
		{name: "switch with a canary", opt: everyStep(), act: canary("true"), at: []string{
			"switch: during canary", "switch: after canary",
		}},
		{name: "switch with a canary that is refused", opt: everyStep(), act: canary("false"), at: []string{
			"switch: after withdraw",
		}},
		{name: "switch that is prepared", opt: everyStep(), act: (*walk).prepared, at: []string{"switch: after ready"}},
		{name: "switch that rolls", opt: rolling, act: switchOver, at: []string{
			"switch: after roll", "switch: after cutover",
		}},
		{name: "switch that rolls and is refused", opt: rolling, act: refused, at: []string{"switch: after come back"}},
		{name: "rollback", opt: everyStep(), prepare: switchOver, act: command("rollback"), at: []string{
			"rollback: after cutover",
		}},
		{
			name: "rollback to a warm generation", opt: warm, prepare: switchOver, act: command("rollback"),
			at: []string{"rollback: after cutover"},
		},
		{name: "reload", opt: everyStep(), act: command("reload"), at: []string{"reload: after cutover"}},
		{name: "restart with a listener", opt: everyStep(), act: command("restart", "web"), at: []string{
			"restart: after cutover",
		}},
		{name: "restart without a listener", opt: everyStep(), act: command("restart", "clock"), at: []string{
			"restart: after restart",
		}},
		{name: "recycling", opt: everyStep(), prepare: (*walk).unlimited, act: (*walk).recycled, at: []string{
			"restart: after boot", "restart: before cutover", "restart: after cutover", "restart: before retire",
		}},
		{name: "scale", opt: everyStep(), act: (*walk).scaled, at: []string{"scale: after scale"}},
		{name: "pause and resume", opt: everyStep(), act: (*walk).paused, at: []string{
			"pause: after pause", "resume: after resume",
		}},
		{name: "maintenance", opt: everyStep(), act: (*walk).maintained, paged: true, at: []string{
			"maintenance: after boot", "maintenance: before cutover", "maintenance: after cutover",
		}},
		{name: "maintenance on a unix socket", opt: unix, act: (*walk).maintained, paged: true, at: []string{
			"maintenance: after prove", "maintenance: after cutover",
		}},
		{
			name: "end of maintenance", opt: everyStep(), prepare: (*walk).covered, act: (*walk).uncovered, paged: true,
			at: []string{"maintenance: after prove", "maintenance: after cutover"},
		},
		{
			name: "end of maintenance on a unix socket", opt: unix, prepare: (*walk).covered, act: (*walk).uncovered,
			paged: true, at: []string{"maintenance: before cutover", "maintenance: after cutover"},
		},
		{name: "upgrade", opt: everyStep(), act: command("upgrade"), at: []string{
			"upgrade: after check", "upgrade: before hand over", "recover: after adopt workers",
			"recover: after take charge", "upgrade: after hand over",
		}},
		{name: "adoption", opt: everyStep(), prepare: (*walk).crash, act: (*walk).launch},
		{
			name: "adoption in the middle of a switch", opt: everyStep(), prepare: crashAt("switch: before settle"),
			act: (*walk).launch, at: []string{"recover: after adopt the live generation", "start: after settle"},
		},
		{
			name: "adoption in the middle of a revert", opt: everyStep(), prepare: crashAt("switch: before revert"),
			act: (*walk).launch, at: []string{"start: after revert"},
		},
		{
			name: "start", opt: everyStep(), prepare: func(w *walk) { w.Daemon.Stop() }, act: (*walk).launch,
			cold: true, at: []string{"start: after boot", "start: after cutover"},
		},
	}
}

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

// unlimited starts a daemon that has recycled no worker and has no limits.
func (w *walk) unlimited() {
	w.Options.Web = ""
	w.WriteConfig()
	w.Command("reload")
	w.crash()
	w.launch()
	w.settled()
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

func TestADaemonThatDiesAtAnyPointLosesNothing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	passed := make(map[string]bool) // guarded by mu
	walked := 0                     // guarded by mu
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				points := s.walk(t)
				mu.Lock()
				defer mu.Unlock()
				walked++
				for _, p := range points {
					passed[p] = true
				}
			})
		}
	})
	if walked < len(scenarios()) {
		return // only some of them were asked for, or one has failed
	}
	points := slices.Collect(maps.Keys(passed))
	for _, step := range steps(t) {
		if step == api.StepWait {
			continue // the change has not begun, so a daemon that dies then leaves nothing of it
		}
		if !slices.ContainsFunc(points, func(p string) bool { return strings.HasSuffix(p, ": after "+step) }) {
			t.Errorf("no scenario has a daemon die after %s", step)
		}
	}
}

// walk runs the scenario as often as it has points at which the daemon is to die, and returns them.
func (s scenario) walk(t *testing.T) []string {
	told := newLedger(t)
	s.opt.More += told.config()
	public := ""
	if s.static {
		public = filepath.Join(t.TempDir(), "static")
		s.opt.More += fmt.Sprintf("\n[assets]\nstatic = { from = \"static\", to = %q }\n", public)
	}
	w := &walk{public: public, App: harness.New(t, run, s.opt), t: t, faults: t.TempDir(), told: told}
	w.Releases("r1", "r2")
	w.Release("broken", apps.Behaviour{Fault: apps.ExitsAtOnce})
	w.launch()
	w.Command("switch", "r1").Want(0)
	points := s.at
	if len(points) == 0 || os.Getenv("SUPERCTL_E2E_POINTS") == "all" {
		w.run(s, "")
		points = w.passed()
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			w.t = t
			w.T = t
			w.run(s, point)
		})
	}
	w.t, w.T = t, t
	w.end()
	return points
}

// passed returns the points that daemons have passed, without repetitions.
func (w *walk) passed() (points []string) {
	data, err := os.ReadFile(filepath.Join(w.faults, "points"))
	if err != nil {
		w.t.Fatal(err)
	}
	for point := range strings.Lines(string(data)) {
		if point = strings.TrimSpace(point); !slices.Contains(points, point) {
			points = append(points, point)
		}
	}
	if len(points) < 2 {
		w.t.Fatalf("fault points: %q", points)
	}
	return points
}

// end stops the running daemon, which the test may not have started.
func (w *walk) end() {
	if st, ok := w.answer(); ok && st.PID != w.Daemon.PID() {
		if err := syscall.Kill(st.PID, syscall.SIGTERM); err != nil {
			w.t.Fatal(err)
		}
		w.gone()
	}
}

// steps returns the names of all steps in the source.
func steps(t *testing.T) (names []string) {
	files, err := filepath.Glob("../../supervisor/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, "../../api/step.go") {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "step") {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				name, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			return true
		})
	}
	if len(names) < 10 {
		t.Fatalf("steps: %q", names)
	}
	return names
}
