package fleet

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	client "superctl/fleet"
)

// The times of the wire, which are shorter than those of ssh.
const (
	connectTime = time.Second             // until a client gives up to connect
	noticeTime  = 1500 * time.Millisecond // until it notices a cut cable
)

// wire is a transport to daemons of this machine, over connections that break when the test wants.
type wire struct {
	binary string
	config map[string]string // of each host

	mu      sync.Mutex
	seen    int                      // guarded by mu: how many messages have gone by
	faults  []fault                  // guarded by mu
	cables  map[string]chan struct{} // guarded by mu: closed = cut
	killed  chan struct{}            // guarded by mu: closed = the client is dead
	strayed sync.WaitGroup           // commands that the client does not know any more
}

// fault is something that happens when a message goes by.
type fault struct {
	at   int
	name string
	do   func()
}

// message counts a message, and has the faults happen that come with it.
func (w *wire) message() {
	w.mu.Lock()
	w.seen++
	var due []fault
	for _, f := range w.faults {
		if f.at == w.seen {
			due = append(due, f)
		}
	}
	w.mu.Unlock()
	for _, f := range due {
		f.do()
	}
}

// now returns the cable of a host and the client's life, each of which a fault may end.
func (w *wire) now(host string) (cable, killed chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cables[host], w.killed
}

func (w *wire) cut(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !closed(w.cables[host]) {
		close(w.cables[host])
	}
}

func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !closed(w.killed) {
		close(w.killed)
	}
}

// mend gives a host a new cable: what went over the old one stays lost.
func (w *wire) mend(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cables[host] = make(chan struct{})
}

// arm has these faults happen from the next message on, at a client that is alive.
func (w *wire) arm(faults []fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen, w.faults, w.killed = 0, faults, make(chan struct{})
}

// disarm ends all faults, and returns how many messages there were and whether the client was killed.
func (w *wire) disarm() (seen int, killed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
	if killed = closed(w.killed); killed {
		w.killed = make(chan struct{})
	}
	return w.seen, killed
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Ship implements fleet.Transport: no test sends a bundle over this wire.
func (w *wire) Ship(context.Context, string, *client.Bundle, client.Call) error {
	return errors.New("this wire takes no bundles")
}

// Run implements fleet.Transport.
func (w *wire) Run(ctx context.Context, host string, c client.Call) error {
	w.message()
	cable, killed := w.now(host)
	if closed(killed) {
		return &client.LostError{Err: errors.New("killed")}
	}
	if closed(cable) {
		select {
		case <-time.After(connectTime):
		case <-ctx.Done():
		case <-killed:
		}
		return &client.LostError{Err: errors.New("no connection")}
	}
	cmd := exec.Command(w.binary, append([]string{"--config", w.config[host]}, c.Args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := &session{wire: w, cable: cable, killed: killed, stdin: stdin, out: c.Stdout}
	defer s.hangUp()
	go s.send(c.Stdin)
	exit := make(chan error, 1)
	w.strayed.Go(func() {
		s.receive(stdout)
		err := cmd.Wait()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			err = &client.ExitError{Code: failed.ExitCode(), Stderr: strings.TrimPrefix(lines[len(lines)-1], "superctl: ")}
		}
		exit <- err
	})
	return s.await(ctx, exit)
}

// session is a command on a host.
type session struct {
	wire   *wire
	cable  chan struct{}
	killed chan struct{}
	stdin  io.WriteCloser

	mu  sync.Mutex
	out io.Writer // guarded by mu: nil = the client does not read any more
}

// passes reports whether a line gets through. A cut cable passes nothing, not even the end. The lines
// of a JSON value are one message.
func (s *session) passes(text string) bool {
	if !strings.ContainsAny(text[:1], " }]") {
		s.wire.message()
	}
	return !closed(s.cable)
}

// send passes the client's lines on until they end.
func (s *session) send(from io.Reader) {
	for in := bufio.NewScanner(cmp.Or[io.Reader](from, strings.NewReader(""))); in.Scan(); {
		if !s.passes(in.Text()) || closed(s.killed) {
			return
		}
		if _, err := io.WriteString(s.stdin, in.Text()+"\n"); err != nil {
			return
		}
	}
	s.endInput()
}

func (s *session) endInput() {
	if !closed(s.cable) {
		_ = s.stdin.Close() // the command may have ended
	}
}

// receive passes the host's lines on until they end.
func (s *session) receive(from io.Reader) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if s.passes(text) {
			s.mu.Lock()
			if s.out != nil {
				_, _ = io.WriteString(s.out, text) // of a pipe, or of memory
			}
			s.mu.Unlock()
		}
	}
}

// hangUp ends the output: a transport writes nothing after its Run has returned.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = nil
}

// await returns how the command has ended, as far as the client can know.
func (s *session) await(ctx context.Context, exit <-chan error) error {
	select {
	case err := <-exit:
		if !closed(s.cable) {
			return err
		}
		return s.lost()
	case <-s.cable:
		return s.lost()
	case <-s.killed:
		s.endInput()
		return s.lost()
	case <-ctx.Done():
		s.endInput()
		select {
		case err := <-exit:
			return err
		case <-s.cable:
			return s.lost()
		}
	}
}

// lost returns, once the client has noticed it, that the connection was lost.
func (s *session) lost() error {
	select {
	case <-time.After(noticeTime):
	case <-s.killed:
	}
	return &client.LostError{Err: errors.New("the connection was lost")}
}
