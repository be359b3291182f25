package supervisor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// shelf is a Store in memory: descriptors by name. It keeps under a name what that name says, and
// nothing else.
type shelf struct {
	w     *world
	kept  map[string]int
	extra map[string]int // descriptors of Options.Extra
}

func newShelf(w *world) *shelf { return &shelf{w: w, kept: map[string]int{}} }

func (s *shelf) names() string { return strings.Join(s.list(), " ") }

func (s *shelf) list() (names []string) {
	for name := range s.kept {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *shelf) Put(name string, fd int) error {
	if _, ok := s.kept[name]; ok {
		return s.w.wrong("store: %s is there already", name)
	}
	if !s.w.named(name, fd) && (s.extra[name] == 0 || s.extra[name] != fd) {
		return s.w.wrong("store: %s is not descriptor %d", name, fd)
	}
	s.kept[name] = fd
	return nil
}

func (s *shelf) Remove(name string) error {
	if _, ok := s.kept[name]; !ok {
		return s.w.wrong("store: %s is removed, and is not there", name)
	}
	delete(s.kept, name)
	return nil
}

func (*shelf) Check() error { return nil }

// The names by which the next daemon finds things (DESIGN 10).
var (
	listenerNamed = regexp.MustCompile(`^listener/(.+)/g(\d+)(?:\.(\d+))?$`)
	placeNamed    = regexp.MustCompile(`^(worker|log)/g(\d+)/(.+)/(\d+)$`)
)

// named reports whether a descriptor is what its name says.
func (w *world) named(name string, fd int) bool {
	if m := listenerNamed.FindStringSubmatch(name); m != nil {
		gate, number := listenerOf(w.gates, fd)
		want := atoi(m[2])
		if m[3] != "" {
			want = lane(want, 0) + atoi(m[3])
		}
		return gate != nil && gate.name == m[1] && gate.isStaged(number) && number == want
	}
	m := placeNamed.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	gen, process, instance := atoi(m[2]), m[3], atoi(m[4])
	if m[1] == "log" {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.ContainsFunc(w.outputs, func(o *fakeOutput) bool {
			own := o.place.process == process && o.place.instance == instance && o.place.gen <= gen
			return own && o.fd == fd && !o.isClosed()
		})
	}
	return slices.ContainsFunc(w.processes(), func(p *fakeProc) bool {
		return p.pidfd() == fd && p.spec.Process == process && p.spec.Instance == instance && w.inGeneration(p, gen)
	})
}

// inGeneration reports whether a worker can be in a generation: its own, or one that a restart of
// another process has made of it.
func (w *world) inGeneration(p *fakeProc, gen int) bool {
	if p.spec.Generation >= gen {
		return p.spec.Generation == gen
	}
	return !slices.ContainsFunc(w.processes(), func(o *fakeProc) bool {
		same := o.spec.Process == p.spec.Process && o.spec.Instance == p.spec.Instance
		return o.spec.Generation == gen && (same || o.spec.Release != p.spec.Release)
	})
}

// atoi is the number that a pattern has matched.
func atoi(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", digits))
	}
	return n
}
