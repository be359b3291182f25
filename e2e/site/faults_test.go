package site

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"superctl/api"
	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

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
