package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// front is a gate with a maintenance page in front of the app. While the page is up, what is asked of
// the gate is only noted: a switch, a rollback, a hold or a roll goes on behind the page as if
// connections reached its generations. So no change needs to know of the page.
//
// A front that is up without the number of a listener waits for that: the daemon has just started, and
// connections go where the earlier daemon has sent them.
type front struct {
	Gate

	mu  sync.Mutex // guards now; it is not held while the gate is turned
	now frontState
}

// frontState is where a front sends connections.
type frontState struct {
	up     bool
	page   int            // number of the page's listener; 0 = there is none yet
	allow  []netip.Prefix // networks whose connections reach the app nevertheless
	behind []int          // where connections go, or would go without the page
}

// newFronts returns the gates, each with a front.
func newFronts(gates []Gate) []Gate {
	all := make([]Gate, len(gates))
	for i, g := range gates {
		all[i] = &front{Gate: g}
	}
	return all
}

// frontOf returns the front of a gate; nil if it has none, as the gate of a lost listener.
func frontOf(gate Gate) *front {
	f, _ := gate.(*front)
	return f
}

func (f *front) state() frontState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *front) set(s frontState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = s
}

// wait has the gate wait for the page of an earlier daemon.
func (f *front) wait() {
	s := f.state()
	s.up = true
	f.set(s)
}

// raise sends every new connection to the page, but for those from the networks. If that fails the
// gate is as it was. A page that is up already gives way to this one.
func (f *front) raise(page int, allow []netip.Prefix) error {
	was := f.state()
	s := frontState{up: true, page: page, allow: allow, behind: was.behind}
	if err := f.Gate.Spread([]int{page}); err != nil {
		return err
	}
	err := f.admit(s)
	if err == nil && len(allow) == 0 && len(was.allow) > 0 && len(was.behind) > 0 {
		err = f.Gate.Canary(was.behind[0], 0, nil)
	}
	if err == nil {
		f.set(s)
		return nil
	}
	back := was.behind
	if was.page != 0 {
		back = []int{was.page}
	}
	if len(back) > 0 {
		err = errors.Join(err, f.Gate.Spread(back), f.admit(was))
	}
	return err
}

// lower sends every new connection to the app again.
func (f *front) lower() error {
	s := f.state()
	if !s.up {
		return nil
	}
	if len(s.behind) > 0 {
		if err := f.Gate.Spread(s.behind); err != nil {
			return err
		}
	}
	f.set(frontState{behind: s.behind})
	return nil
}

// admit lets the networks reach the app.
func (f *front) admit(s frontState) error {
	if !s.up || s.page == 0 || len(s.allow) == 0 || len(s.behind) == 0 {
		return nil
	}
	return f.Gate.Canary(s.behind[0], 0, s.allow)
}

func (f *front) Cutover(gen int) error { return f.Spread([]int{gen}) }

func (f *front) Spread(gens []int) error {
	s := f.state()
	s.behind = slices.Clone(gens)
	if !s.up {
		if err := f.Gate.Spread(gens); err != nil {
			return err
		}
	} else if err := f.admit(s); err != nil {
		return fmt.Errorf("behind the maintenance page: %w", err)
	}
	f.set(s)
	return nil
}

// Canary divides what reaches the app. Behind a page nothing is divided.
func (f *front) Canary(gen, share int, networks []netip.Prefix) error {
	switch {
	case !f.state().up:
		return f.Gate.Canary(gen, share, networks)
	case share == 0 && len(networks) == 0:
		return nil
	}
	return errors.New("the app is in maintenance, so connections cannot be divided")
}

// Live is the generation of the app that connections reach, or would reach without the page.
func (f *front) Live() int {
	switch s := f.state(); {
	case !s.up:
		return f.Gate.Live()
	case len(s.behind) > 0:
		return s.behind[0]
	}
	return 0
}

func (f *front) Close(gen int) error {
	s := f.state()
	s.behind = slices.DeleteFunc(slices.Clone(s.behind), func(n int) bool { return n == gen })
	if s.page == gen {
		s.page = 0
	}
	f.set(s)
	return f.Gate.Close(gen)
}
