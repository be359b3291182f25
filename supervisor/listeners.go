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
	Lost []int    // generations whose listener nobody can reach any more
}

// listenerCare is what is known of one listener beyond its gate. Owned by Run.
type listenerCare struct {
	incident *Trouble // newest that was mended
	wrong    string   // why clients do not reach the live generation, "" when they do
	lost     string   // why a listener must be replaced, "" when it need not
	number   int      // under which the gate knows that one
	tries    int      // replacements that were begun
	waiting  bool     // for the next try
}

// watchListeners has the gates tell what others do to their listeners, until the returned function
// is called.
func (s *Supervisor) watchListeners() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	for _, gate := range s.opt.Gates {
		s.beside(func() {
			if err := gate.Watch(ctx, func() { s.mend(gate) }); err != nil {
				s.log.Error(
					"what others do to a listener is noticed late", zap.String("listener", gate.Name()), zap.Error(err),
				)
			}
		})
	}
	return cancel
}

// mend sets a gate right, for a goroutine other than the owner.
func (s *Supervisor) mend(gate Gate) {
	if m := gate.Mend(); len(m.Said) > 0 {
		s.post(func() { s.mended(gate, m) })
	}
}

// mended takes what a gate has found.
func (s *Supervisor) mended(gate Gate, m Mended) {
	why := strings.Join(m.Said, "; ")
	care := s.care(gate.Name())
	lost := 0
	for _, n := range m.Lost {
		if s.live != nil && slices.Contains(s.live.numbers()[gate.Name()], n) {
			lost = n
		}
	}
	if lost != 0 && care.number == lost {
		return // it is being replaced
	}
	s.log.Warn(
		"a listener was changed by another process", zap.String("listener", gate.Name()), zap.String("what", why),
	)
	care.incident = &Trouble{Of: "listener " + gate.Name(), Since: time.Now(), Why: why}
	if lost != 0 {
		care.lost, care.number, care.tries = why, lost, 0
	}
	s.checkListeners()
}

func (s *Supervisor) care(listener string) *listenerCare {
	if s.cares[listener] == nil {
		s.cares[listener] = &listenerCare{}
	}
	return s.cares[listener]
}

// replaceLost begins to replace a listener that cannot be mended, when no change is in progress.
// What fails is tried again.
func (s *Supervisor) replaceLost() {
	for name, care := range ordered(s.cares) {
		if care.lost == "" || s.live == nil || s.stopping {
			continue
		}
		if !slices.Contains(s.live.numbers()[name], care.number) {
			care.lost, care.number = "", 0 // another generation is live
			continue
		}
		if care.waiting || s.change != nil {
			continue
		}
		i := slices.IndexFunc(s.live.plan.Processes, func(p Process) bool { return slices.Contains(p.Listen, name) })
		if i < 0 {
			continue
		}
		process := s.live.plan.Processes[i].Name
		s.log.Warn(
			"replace a listener", zap.String("listener", name), zap.String("process", process),
			zap.String("why", care.lost),
		)
		c, _, err := s.begin(Request{Kind: Restart, Process: process, Who: "the daemon"})
		if err != nil {
			s.log.Error("replace a listener", zap.String("listener", name), zap.Error(err))
			s.tryAgain(care)
			continue
		}
		s.tryAgain(care) // unless it works
		s.beside(func() {
			for range c.events { // nobody watches; the outcome is logged
			}
			<-c.done
		})
	}
}

// tryAgain has a listener replaced after a while.
func (s *Supervisor) tryAgain(care *listenerCare) {
	care.waiting = true
	care.tries++
	time.AfterFunc(s.backoff(care.tries), func() { s.post(func() { care.waiting = false }) })
}

// checkListeners finds out beside the owner whether clients reach the live generation.
func (s *Supervisor) checkListeners() {
	g := s.live
	if g == nil || g.private {
		return
	}
	numbers, gates := g.numbers(), g.gates
	s.beside(func() {
		for name, list := range ordered(numbers) {
			err := verify(gates[name], list)
			s.post(func() {
				switch {
				case s.live != g: // another check is under way
				case !slices.Equal(g.numbers()[name], list):
					s.checkListeners()
				default:
					s.reaches(name, err)
				}
			})
		}
	})
}

// reaches notes whether clients reach the live generation.
func (s *Supervisor) reaches(listener string, err error) {
	care, text := s.care(listener), ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == care.wrong:
		return
	case err != nil:
		s.log.Error("clients do not reach the live generation", zap.String("listener", listener), zap.Error(err))
	default:
		s.log.Info("clients reach the live generation again", zap.String("listener", listener))
	}
	care.wrong = text
}

// verifyListeners finds out whether the gates reach a generation; it makes its soundings in the
// goroutine that calls it.
func (s *Supervisor) verifyListeners(g *generation) error {
	var numbers map[string][]int
	var gates map[string]Gate
	if err := s.do(func() { numbers, gates = g.numbers(), g.gates }); err != nil {
		return err
	}
	var errs []error
	for name, list := range ordered(numbers) {
		if err := verify(gates[name], list); err != nil {
			errs = append(errs, fmt.Errorf("listener %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// verifyTime bounds the look at the listeners of a generation.
const verifyTime = 5 * time.Second

func verify(gate Gate, numbers []int) error {
	if gate == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTime)
	defer cancel()
	var errs []error
	for _, n := range numbers {
		errs = append(errs, gate.Verify(ctx, n))
	}
	return errors.Join(errs...)
}

// unreachable is why clients do not reach the live generation, "" when they do.
func (s *Supervisor) unreachable() string {
	for _, gate := range s.opt.Gates {
		care := s.cares[gate.Name()]
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
func (s *Supervisor) incidents() (list []Trouble) {
	for _, gate := range s.opt.Gates {
		if care := s.cares[gate.Name()]; care != nil && care.incident != nil {
			list = append(list, *care.incident)
		}
	}
	return list
}

// strangers are the listeners of others on the addresses, for a goroutine other than the owner.
func (s *Supervisor) strangers() (list []Trouble) {
	for _, gate := range s.opt.Gates {
		for _, who := range gate.Strangers() {
			list = append(list, Trouble{Of: "listener " + gate.Name(), Since: time.Now(), Why: who})
		}
	}
	return list
}
