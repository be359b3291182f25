package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"superctl/api"
)

// fakeFleet is a transport to hosts in memory, which behave as superctl does on a host. They check
// the commands that they get: a wrong one fails the test.
type fakeFleet struct {
	t     *testing.T
	hosts map[string]*fakeHost
	// aboutTo is called before a host does what a message or the time makes it do, such as "web1
	// ready"; it may break things.
	aboutTo func(what string)

	mu         sync.Mutex
	dead       *signal        // of the operator
	migrations map[string]int // runs of the hook with once = true, by run
	log        []string
	told       []string // reports of runs
	leaders    int      // hosts that would notify the team of maintenance themselves
}

func newFakeFleet(t *testing.T, names ...string) *fakeFleet {
	f := &fakeFleet{t: t, hosts: make(map[string]*fakeHost), aboutTo: func(string) {}, migrations: make(map[string]int)}
	f.dead = newSignal()
	for _, n := range names {
		h := &fakeHost{
			name: n, live: "1", previous: "0", health: "ok", boot: 2 * time.Second, probation: 10 * time.Second,
			trees:   map[string]string{"0": "t0", "1": "t1", "2": "t2"},
			bundles: map[string]string{"0": "b0", "1": "b1"},
			since:   time.Now().Add(-time.Hour),
			run:     "run-0",
		}
		h.mend()
		f.hosts[n] = h
	}
	return f
}

func (f *fakeFleet) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead.raise()
}

// signal is something that happens once.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

func (s *signal) raise() { s.once.Do(func() { close(s.c) }) }

func (s *signal) raised() bool {
	select {
	case <-s.c:
		return true
	default:
		return false
	}
}

// event records and reports what a host is about to do.
func (f *fakeFleet) event(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	f.mu.Lock()
	f.log = append(f.log, text)
	f.mu.Unlock()
	f.aboutTo(text)
}

// Run implements Transport.
func (f *fakeFleet) Run(ctx context.Context, host string, c Call) error { return f.call(ctx, host, c) }

// Ship implements Transport.
func (f *fakeFleet) Ship(ctx context.Context, host string, b *Bundle, c Call) error {
	if b == nil || b.Path != "shop-2.tar.zst" || !slices.Equal(c.Args, []string{"install", "--json", "--keep"}) {
		f.t.Errorf("ship %+v to %s with %q", b, host, c.Args)
	}
	c.Args = append(slices.Clone(c.Args), b.Path)
	return f.call(ctx, host, c)
}

const (
	noticeTime  = 6 * time.Second // until ssh notices a cut cable
	connectTime = 5 * time.Second // until it gives up to connect
)

func (f *fakeFleet) lookup(host string) *fakeHost {
	h := f.hosts[host]
	if h == nil {
		f.t.Errorf("there is no host %q", host)
		panic(host)
	}
	return h
}

// call runs a command over a connection that may be cut.
func (f *fakeFleet) call(ctx context.Context, host string, c Call) error {
	h := f.lookup(host)
	f.mu.Lock()
	dead := f.dead
	f.mu.Unlock()
	h.mu.Lock()
	cut := h.cut
	h.mu.Unlock()
	if dead.raised() {
		return &LostError{errors.New("killed")}
	}
	time.Sleep(5 * time.Millisecond) // of the network
	if ctx.Err() != nil {
		return &LostError{ctx.Err()}
	}
	if cut.raised() {
		select {
		case <-time.After(connectTime):
			return &LostError{errors.New("connect: timed out")}
		case <-ctx.Done():
			return &LostError{ctx.Err()}
		case <-dead.c:
			return &LostError{errors.New("killed")}
		}
	}
	s := &fakeSession{fleet: f, host: h, cut: cut, in: make(chan string), eof: make(chan struct{}), out: c.Stdout}
	stop := make(chan struct{})
	defer close(stop)
	defer s.hangUp()
	go s.read(ctx, dead, c.Stdin, stop)
	exit := make(chan error, 1)
	go func() {
		err := s.serve(c.Args)
		s.explain(c.Args, err)
		exit <- err
	}()
	lost := func() error {
		select {
		case err := <-exit: // it came through just before
			if !cut.raised() {
				return err
			}
		case <-time.After(noticeTime):
		}
		return &LostError{errors.New("the connection was lost")}
	}
	select {
	case err := <-exit:
		if cut.raised() {
			time.Sleep(noticeTime)
			return &LostError{errors.New("the connection was lost")}
		}
		return err
	case <-cut.c:
		return lost()
	case <-dead.c:
		return &LostError{errors.New("killed")}
	case <-ctx.Done():
		select {
		case err := <-exit:
			return err
		case <-time.After(partingTime):
			return &LostError{ctx.Err()}
		case <-cut.c:
			return lost()
		}
	}
}

// fakeSession is a command on a host, seen from the host.
type fakeSession struct {
	fleet *fakeFleet
	host  *fakeHost
	cut   *signal
	in    chan string
	eof   chan struct{}

	answers bool // the command answers signs of life

	mu  sync.Mutex
	out io.Writer // nil = the client does not read any more
}

// hangUp ends the output: a transport writes nothing after its Run has returned.
func (s *fakeSession) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = nil
}

// read passes lines of stdin on until it ends; a cut cable passes nothing, not even the end.
func (s *fakeSession) read(ctx context.Context, dead *signal, stdin io.Reader, stop chan struct{}) {
	lines := make(chan string)
	if stdin != nil {
		go func() {
			defer close(lines)
			in := bufio.NewScanner(stdin)
			for in.Scan() {
				select {
				case lines <- in.Text():
				case <-stop:
				}
			}
		}()
	} else {
		close(lines)
	}
	for {
		select {
		case line, ok := <-lines:
			if line == "go" {
				s.fleet.event("%s word", s.host.name) // it has not arrived
			}
			if s.cut.raised() {
				return
			}
			if !ok {
				close(s.eof)
				return
			}
			select {
			case s.in <- line:
			case <-s.cut.c:
				return
			case <-stop:
				return
			}
		case <-ctx.Done():
			if !s.cut.raised() {
				close(s.eof)
			}
			return
		case <-dead.c:
			if !s.cut.raised() {
				close(s.eof)
			}
			return
		case <-s.cut.c:
			return
		case <-stop:
			return
		}
	}
}

// explain prints why a command with --json has failed that printed no outcome.
func (s *fakeSession) explain(args []string, err error) {
	var exit *ExitError
	if errors.As(err, &exit) && exit.Code != api.ExitAborted && exit.Code != api.ExitReverted && slices.Contains(args, "--json") {
		s.print(api.Failure{Error: exit.Stderr, Exit: exit.Code})
	}
}

// print sends a line to the client, if the cable is there.
func (s *fakeSession) print(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut.raised() || s.out == nil {
		return
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			s.fleet.t.Error(err)
		}
		text = string(data)
	}
	_, _ = io.WriteString(s.out, text+"\n")
}
