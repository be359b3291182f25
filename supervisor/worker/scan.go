package worker

import (
	"os"
	"sync"
	"time"

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
	// guarded by turn: the processes of the newest look that carry a tag, and when the next look may begin
	tagged map[int]carrier
	rested time.Time
	mu     sync.Mutex
	next   *sharedScan // guarded by mu: the look that has not begun
}

// ownTag reports whether this process carries a tag itself. Then a process that it starts seems to
// carry that one until it has executed its program, and no tag is remembered.
var ownTag = os.Getenv(tagVar) != "" //nolint:gochecknoglobals // the environment of a process is one

// carrier is a process that carries a tag. It keeps that for as long as it lives, also when it
// executes a program without it.
type carrier struct {
	start uint64 // clock ticks since boot
	tag   string
}

// After a look there is a pause, pauseTimes as long as the look took, but at most longestPause. All that
// ask during the pause share the next look, so a thousand workers that start need few of them. On a
// small host a look takes about a millisecond.
const (
	pauseTimes   = 4
	longestPause = 100 * time.Millisecond
)

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
		<-time.After(time.Until(scans.rested))
		scans.mu.Lock()
		scans.next = nil // who comes from here on needs a later look
		scans.mu.Unlock()
		began := time.Now()
		shared.err = withSpare(func() (err error) {
			shared.scan, scans.tagged, err = newScan(scans.tagged)
			if ownTag {
				scans.tagged = nil
			}
			return err
		})
		scans.rested = time.Now().Add(min(longestPause, pauseTimes*time.Since(began)))
	})
	return shared.scan, shared.err
}

// newScan looks at all processes. known are those that carried a tag at the look before: their
// environment is not read again. It returns those of this look; after an error, the same.
func newScan(known map[int]carrier) (scan, map[int]carrier, error) {
	all, err := processes()
	if err != nil {
		return scan{}, known, err
	}
	s, tagged := scan{all: all, tags: make(map[int]string, len(known))}, make(map[int]carrier, len(known))
	for i := range all {
		p := &all[i]
		c, ok := known[p.PID]
		if !ok || c.start != p.Start {
			if p.KernelThread() || p.Ended() {
				continue // neither has an environment
			}
			c.start = p.Start
			if c.tag, ok, err = tagOf(p.PID); err != nil {
				return scan{}, known, err
			}
		}
		if ok {
			s.tags[p.PID], tagged[p.PID] = c.tag, c
		}
	}
	return s, tagged, nil
}
