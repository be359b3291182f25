package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// A listener can be changed by others while it serves: a worker shuts it down, another process of
// the same user listens on the address too, a cleaner removes the path of a unix socket. The gate
// mends what it can; here that is made known, and a listener that cannot be mended is replaced by a
// restart of the processes that accept from it.

// Mended is what a gate has found changed by others.
type Mended struct {
	Said []string // what was wrong, a sentence each
	Lost []int    // generations whose listener cannot be reached any more
}

// listenerCare is what is known of one listener beyond its gate. Owned by Run.
type listenerCare struct {
	incident *Trouble // newest that was mended
	wrong    string   // why clients do not reach the live generation, "" when they do
	lost     string   // why a listener must be replaced, "" when it need not
	of       listener // that one
	tries    int      // replacements that were begun
	waiting  bool     // for the next try
}

// listenerSet is the app's listeners: their gates, what others have done to them, and which
// generations their connections reach.
type listenerSet struct {
	*core
	owner  *Supervisor
	gates  map[string]Gate
	former map[string]Gate // of an earlier config, by their names in the state file (see former.go)
	cares  map[string]*listenerCare
	aimed  map[string][]listener // what each listener's connections were last spread over

	divided  *division // nil = all connections reach the live generation, but for a canary's
	remnants map[listener]*remnant
}

func newListenerSet(s *Supervisor) listenerSet {
	ls := listenerSet{
		core: s.core, owner: s, gates: make(map[string]Gate, len(s.opt.Gates)), former: make(map[string]Gate),
		cares: make(map[string]*listenerCare), aimed: make(map[string][]listener),
		remnants: make(map[listener]*remnant),
	}
	for _, g := range s.opt.Gates {
		ls.gates[g.Name()] = g
	}
	return ls
}

// watch has the gates tell what others do to their listeners, until the returned function
// is called.
func (ls *listenerSet) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	for _, gate := range ls.opt.Gates {
		ls.async(func() {
			if err := gate.Watch(ctx, func() { ls.mend(gate) }); err != nil {
				ls.log.Error(
					"what others do to a listener is noticed late", zap.String("listener", gate.Name()), zap.Error(err),
				)
			}
		})
	}
	return cancel
}

// mend sets a gate right, for a goroutine other than the owner.
func (ls *listenerSet) mend(gate Gate) {
	if m := gate.Mend(); len(m.Said) > 0 {
		ls.post(func() { ls.mended(gate, m) })
	}
}

// mended takes what a gate has found.
func (ls *listenerSet) mended(gate Gate, m Mended) {
	why := strings.Join(m.Said, "; ")
	care := ls.care(gate.Name())
	var lost listener
	for _, n := range m.Lost {
		if page := ls.owner.maintenance.page; page != nil && page.uses(listener{gate, n}) {
			ls.owner.maintenance.lost = true
		}
		if l := (listener{gate, n}); ls.owner.live != nil && ls.owner.live.uses(l) {
			lost = l
		}
	}
	if lost.held() && care.of == lost {
		return // it is being replaced
	}
	ls.log.Warn(
		"a listener was changed by another process", zap.String("listener", gate.Name()), zap.String("what", why),
	)
	care.incident = &Trouble{Of: "listener " + gate.Name(), Since: time.Now(), Why: why}
	if lost.held() {
		care.lost, care.of, care.tries = why, lost, 0
	}
	ls.check()
}

func (ls *listenerSet) care(listener string) *listenerCare {
	if ls.cares[listener] == nil {
		ls.cares[listener] = &listenerCare{}
	}
	return ls.cares[listener]
}

// replaceLost begins to replace a listener that cannot be mended, when no change is in progress.
// What fails is tried again.
func (ls *listenerSet) replaceLost() {
	for name, care := range ordered(ls.cares) {
		if care.lost == "" || ls.owner.live == nil || ls.owner.stopping {
			continue
		}
		if !ls.owner.live.uses(care.of) {
			care.lost, care.of = "", listener{} // another generation is live
			continue
		}
		if care.waiting || ls.owner.change != nil {
			continue
		}
		i := slices.IndexFunc(ls.owner.live.plan.Processes, func(p Process) bool {
			return slices.Contains(p.Listen, name)
		})
		if i < 0 {
			continue
		}
		process := ls.owner.live.plan.Processes[i].Name
		ls.log.Warn(
			"replace a listener", zap.String("listener", name), zap.String("process", process),
			zap.String("why", care.lost),
		)
		req := Request{Kind: Restart, Process: process, Who: "the daemon"}
		if err := ls.owner.admission.beginOwn(req); err != nil {
			ls.log.Error("replace a listener", zap.String("listener", name), zap.Error(err))
		}
		ls.tryAgain(care) // unless it works
	}
}

// tryAgain has a listener replaced after a while.
func (ls *listenerSet) tryAgain(care *listenerCare) {
	care.waiting = true
	care.tries++
	ls.postAfter(ls.backoff(care.tries), func() { care.waiting = false })
}

// check finds out in a goroutine of its own whether clients reach the live generation.
func (ls *listenerSet) check() {
	g := ls.owner.live
	if g == nil || g.private {
		return
	}
	all := g.listeners()
	ls.async(func() {
		for name, list := range ordered(all) {
			err := verify(list)
			ls.post(func() {
				switch {
				case ls.owner.live != g: // another check is under way
				case !slices.Equal(g.listeners()[name], list):
					ls.check()
				default:
					ls.noteReach(name, err)
				}
			})
		}
	})
}

// noteReach notes whether clients reach the live generation.
func (ls *listenerSet) noteReach(listener string, err error) {
	care, text := ls.care(listener), ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == care.wrong:
		return
	case err != nil:
		ls.log.Error("clients do not reach the live generation", zap.String("listener", listener), zap.Error(err))
	default:
		ls.log.Info("clients reach the live generation again", zap.String("listener", listener))
	}
	care.wrong = text
}

// verifyListeners finds out whether the gates reach a generation; it makes its soundings in the
// goroutine that calls it.
func (g *generation) verifyListeners() error {
	var all map[string][]listener
	if err := g.owner.do(func() { all = g.listeners() }); err != nil {
		return err
	}
	var errs []error
	for name, list := range ordered(all) {
		if err := verify(list); err != nil {
			errs = append(errs, fmt.Errorf("listener %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// verifyTime bounds the look at the listeners of a generation.
const verifyTime = 5 * time.Second

func verify(list []listener) error {
	ctx, cancel := context.WithTimeout(context.Background(), verifyTime)
	defer cancel()
	var errs []error
	for _, l := range list {
		errs = append(errs, l.verify(ctx))
	}
	return errors.Join(errs...)
}

// unreachable is why clients do not reach the live generation, "" when they do.
func (ls *listenerSet) unreachable() string {
	for _, gate := range ls.opt.Gates {
		care := ls.cares[gate.Name()]
		switch {
		case care == nil:
		case care.lost != "":
			return fmt.Sprintf("listener %q: %s; it is being replaced", gate.Name(), care.lost)
		case care.wrong != "":
			return fmt.Sprintf("listener %q: %s", gate.Name(), care.wrong)
		}
	}
	return ""
}

// incidents are what others have done to the listeners.
func (ls *listenerSet) incidents() (list []Trouble) {
	for _, gate := range ls.opt.Gates {
		if care := ls.cares[gate.Name()]; care != nil && care.incident != nil {
			list = append(list, *care.incident)
		}
	}
	return list
}

// strangers are the listeners of others on the addresses, for a goroutine other than the owner.
func (ls *listenerSet) strangers() (list []Trouble) {
	for _, gate := range ls.opt.Gates {
		for _, who := range gate.Strangers() {
			list = append(list, Trouble{Of: "listener " + gate.Name(), Since: time.Now(), Why: who})
		}
	}
	return list
}
