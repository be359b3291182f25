package supervisor

import (
	"slices"
	"sync"
	"time"
)

// What a client that begins to follow a change is told of its past: at most this many
const (
	toldSteps  = 200 // of the steps that have ended, the newest
	toldOutput = 100 // of the lines of the running step, the newest
)

// followers are the clients that follow a change which another client began. Each gets the steps that
// have ended and the newest of the running one first, and then every event.
type followers struct {
	mu      sync.Mutex
	clients []chan Event // guarded by mu
	over    bool         // guarded by mu: there are no more events
	ended   []Event      // guarded by mu: of the steps that have ended
	running []Event      // guarded by mu: of the running step, from its beginning
	began   time.Time    // guarded by mu: when the running step did
}

// tell passes an event to all followers, and keeps it for those that follow later.
func (fs *followers) tell(ev Event) {
	if ev.Type == "ready" { // the word belongs to the client that waits with it
		ev = Event{Type: "progress", Step: ev.Step, Detail: `waits for "go" from its client`}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	switch ev.Type {
	case "begin":
		fs.running, fs.began = []Event{ev}, time.Now()
	case "end", "fail":
		fs.ended, fs.running = newest(append(fs.ended, ev), toldSteps), nil
	case "progress": // the newest says it all
		fs.running = append(slices.DeleteFunc(fs.running, func(old Event) bool { return old.Type == "progress" }), ev)
	default:
		if len(fs.running) > toldOutput {
			fs.running = slices.Delete(fs.running, 1, 2) // the first is the beginning
		}
		fs.running = append(fs.running, ev)
	}
	for _, f := range fs.clients {
		pass(f, ev)
	}
}

// newest returns the last n events.
func newest(list []Event, n int) []Event { return list[max(0, len(list)-n):] }

// join returns the events of the change, from those that a follower must know. The channel is closed
// at the end of the change.
func (fs *followers) join() <-chan Event {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := make(chan Event, 1024)
	for _, ev := range slices.Concat(fs.ended, fs.running) {
		if ev.Type == "begin" {
			ev.Seconds = time.Since(fs.began).Seconds()
		}
		f <- ev // there is room for all
	}
	if fs.over {
		close(f)
	} else {
		fs.clients = append(fs.clients, f)
	}
	return f
}

// leave ends the events of a follower that does not read them any more.
func (fs *followers) leave(events <-chan Event) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.clients = slices.DeleteFunc(fs.clients, func(f chan Event) bool { return f == events })
}

// end closes the channels of all followers.
func (fs *followers) end() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.over = true
	for _, f := range fs.clients {
		close(f)
	}
	fs.clients = nil
}

// pass reports whether an event went to a client, which it does not wait for. Output leaves room
// for the steps.
func pass(client chan<- Event, ev Event) bool {
	if ev.Type == "output" && len(client) > cap(client)/2 {
		return false
	}
	select {
	case client <- ev:
		return true
	default: // the client does not read; the outcome has every step
		return false
	}
}
