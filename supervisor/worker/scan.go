package worker

import (
	"sync"

	"superctl/proc"
)

// scan is one look at all processes: what each of them is, and the tag that it carries.
type scan struct {
	all  []proc.Stat
	tags map[int]string // by pid; of those that have one
}

// scans shares looks among those who want one at the same time. Of a thousand workers that end
// together each hunts for what it has left behind, and a look reads the environment of every
// process.
var scans struct { //nolint:gochecknoglobals // there is one /proc
	turn sync.Mutex // held during a look
	mu   sync.Mutex
	next *sharedScan // guarded by mu: the look that has not begun
}

type sharedScan struct {
	once sync.Once
	scan scan
	err  error
}

// lookAround looks at all processes. The look begins after the call: what has been started before
// is in it.
func lookAround() (scan, error) {
	scans.mu.Lock()
	if scans.next == nil {
		scans.next = new(sharedScan)
	}
	shared := scans.next
	scans.mu.Unlock()
	shared.once.Do(func() {
		scans.turn.Lock()
		defer scans.turn.Unlock()
		scans.mu.Lock()
		scans.next = nil // who comes from here on needs a later look
		scans.mu.Unlock()
		shared.err = withSpare(func() (err error) {
			shared.scan, err = newScan()
			return err
		})
	})
	return shared.scan, shared.err
}

func newScan() (scan, error) {
	all, err := processes()
	if err != nil {
		return scan{}, err
	}
	s := scan{all: all, tags: make(map[int]string)}
	for _, p := range all {
		tag, ok, err := tagOf(p.PID)
		if err != nil {
			return scan{}, err
		}
		if ok {
			s.tags[p.PID] = tag
		}
	}
	return s, nil
}
