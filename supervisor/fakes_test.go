package supervisor

import (
	"context"
	"crypto/rand"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"superctl/supervisor/worker"
)

// TestFakesRefuseWhatCannotBe asks each fake for something with a wrong generation, name or
// descriptor.
func TestFakesRefuseWhatCannotBe(t *testing.T) {
	type scene struct {
		w    *world
		s    *Supervisor
		sys  system
		gate *fakeGate // live is generation 2; generation 1 is gone
		live *fakeProc
		kept *shelf
	}
	path := func(c scene, name string) string { return filepath.Join(c.s.opt.State, "log", name) }
	ctx := context.Background()
	spec := func(c scene, change func(*worker.Spec)) {
		spec := c.live.spec
		spec.Generation, spec.Instance, spec.Files = 2, 1, slices.Clone(spec.Files)
		spec.Output = path(c, "g2.web.1."+rand.Text())
		_, _ = c.sys.output(spec.Output, nil)
		change(&spec)
		_, _ = c.sys.start(ctx, spec)
	}
	saved := func(c scene) workerState {
		p := c.live
		return workerState{Process: "web", PID: p.pid, StartTime: p.StartTime(), Tag: p.Tag(), Output: p.spec.Output}
	}
	wrong := map[string]func(c scene){
		"gate: stage again":                  func(c scene) { _ = c.gate.Stage(2) },
		"gate: stage a number that was used": func(c scene) { _ = c.gate.Stage(1) },
		"gate: descriptor of another":        func(c scene) { _, _ = c.gate.FD(3) },
		"gate: listen for another":           func(c scene) { _ = c.gate.Relisten(1) },
		"gate: cut over to one that is gone": func(c scene) { _ = c.gate.Cutover(1) },
		"gate: spread over none":             func(c scene) { _ = c.gate.Spread(nil) },
		"gate: spread over one twice":        func(c scene) { _ = c.gate.Spread([]int{2, 2}) },
		"gate: spread over one that is gone": func(c scene) { _ = c.gate.Spread([]int{2, 1}) },
		"gate: canary of the live one":       func(c scene) { _ = c.gate.Canary(2, 100, nil) },
		"gate: canary of one that is gone":   func(c scene) { _ = c.gate.Canary(1, 100, nil) },
		"gate: settle the live one":          func(c scene) { _, _ = c.gate.Settle(ctx, 2) },
		"gate: settle another":               func(c scene) { _, _ = c.gate.Settle(ctx, 3) },
		"gate: verify another":               func(c scene) { _ = c.gate.Verify(ctx, 3) },
		"gate: dial another":                 func(c scene) { _, _ = c.gate.Dial(ctx, 3) },
		"gate: queue of another":             func(c scene) { _, _, _ = c.gate.Queue(3) },
		"gate: close one that is gone":       func(c scene) { _ = c.gate.Close(1) },
		"gate: connections of a stranger":    func(c scene) { _, _ = c.gate.Connections(2, []int{c.live.pid, 7}) },
		"gate: connections of generation 0":  func(c scene) { _, _ = c.gate.Connections(0, []int{c.live.pid}) },
		"gate: adopt another descriptor":     func(c scene) { _ = c.gate.next().Adopt(2, c.gate.fdOf(1)) },
		"gate: adopt when it has begun":      func(c scene) { _ = c.gate.Adopt(3, c.gate.fdOf(3)) },
		"gate: one place twice":              func(c scene) { _ = c.gate.next().Locate([]int{0, 0}) },

		"store: another's descriptor": func(c scene) { _ = c.kept.Put("worker/g2/web/1", c.live.pidfd()) },
		"store: another generation":   func(c scene) { _ = c.kept.Put("listener/web/g1", c.gate.fdOf(2)) },
		"store: another listener":     func(c scene) { _ = c.kept.Put("listener/admin/g2", c.gate.fdOf(2)) },
		"store: a pipe for a worker":  func(c scene) { _ = c.kept.Put("log/g2/web/0", c.live.pidfd()) },
		"store: a name of nothing":    func(c scene) { _ = c.kept.Put("web", c.gate.fdOf(2)) },
		"store: a second time":        func(c scene) { _ = c.kept.Put("worker/g2/web/0", c.live.pidfd()) },
		"store: remove what is not":   func(c scene) { _ = c.kept.Remove("worker/g9/web/0") },

		"process: a signal that is not its own": func(c scene) { _ = c.live.Signal(syscall.SIGQUIT) },
		"process: another generation": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Generation = 1 })
		},
		"process: another place's pipe": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Output = c.live.spec.Output })
		},
		"process: a pipe that nobody has opened": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Output = path(c, "g2.web.2."+rand.Text()) })
		},
		"process: another's descriptor": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Files[0].FD = 5 })
		},
		"process: the descriptor of a generation that is gone": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Files[0].FD = c.gate.fdOf(1) })
		},
		"process: another name of a listener": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Files[0].Name = "admin" })
		},
		"process: another mark": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Mark = "blog" })
		},
		"process: another place's flag": func(c scene) {
			spec(c, func(s *worker.Spec) { s.Flag = "/run/drain/g2.web.0" })
		},
		"process: adopt it in another place": func(c scene) {
			ws := saved(c)
			ws.Instance = 3
			_, _ = c.sys.adopt(ws, -1)
		},
		"process: adopt it by another pidfd": func(c scene) { _, _ = c.sys.adopt(saved(c), c.live.pidfd()+1) },
		"process: end another": func(c scene) {
			ws := saved(c)
			ws.Tag = "tag-1"
			_ = c.sys.end(ws)
		},
		"process: end what has never been": func(c scene) { _ = c.sys.end(workerState{PID: 1 << 20}) },
		"process: inode of anything":       func(c scene) { _, _ = c.sys.inode(5) },
		"process: close a listener in use": func(c scene) { c.sys.close(c.gate.fdOf(2)) },
		"process: sweep another app's": func(c scene) {
			_ = c.sys.sweep("blog", func(string) bool { return true })
		},
		"process: a hook of another app": func(c scene) {
			_ = c.sys.run(ctx, worker.Command{Args: []string{"true"}}, nil)
		},

		"output: elsewhere":      func(c scene) { _, _ = c.sys.output("/log/g2.web.1."+rand.Text(), nil) },
		"output: of no instance": func(c scene) { _, _ = c.sys.output(path(c, "web"), nil) },
		"output: opened twice":   func(c scene) { _, _ = c.sys.output(c.live.spec.Output, nil) },
		"output: closed twice": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			_ = out.Close()
			_ = out.Close()
		},
		"output: read when it is closed": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			_ = out.Close()
			_ = out.Run(ctx)
		},
		"output: handed on when it is closed": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			_ = out.Close()
			_ = out.Descriptor(func(int) error { return nil })
		},
		"output: read twice": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			out.OnLine(func(worker.Line) { _ = out.Run(ctx) })
			_ = out.Run(ctx)
		},
		"output: read for nobody": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			_ = out.Run(ctx)
		},
		"output: last words for nobody": func(c scene) {
			out, _ := c.sys.output(path(c, "g2.web.7."+rand.Text()), nil)
			_ = out.Drain()
		},
	}
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		c := scene{w: w, kept: newShelf(w)}
		w.options = func(o *Options) { o.Store = c.kept }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		synctest.Wait()
		c.s, c.gate, c.live, c.sys = s, w.gate, w.newest("r2"), s.os
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			var said []string
			w.complain = func(text string) { said = append(said, text) }
			wrong[name](c)
			w.complain = nil
			if len(said) == 0 {
				t.Errorf("%s: the fake does it", name)
			}
		}
	})
}
