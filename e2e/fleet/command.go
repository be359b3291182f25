package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"superctl/e2e/harness"
)

// Command is a command that runs, or has run, on a host or as the operator.
type Command struct {
	t     harness.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   output
	done  chan struct{}

	Code int // after Wait; -1: ended by a signal
}

// output collects what a command writes, and announces each write.
type output struct {
	mu          sync.Mutex
	out, errors bytes.Buffer  // guarded by mu
	grown       chan struct{} // guarded by mu: closed and replaced with each write
}

// stream is stdout or stderr of a command.
type stream struct {
	to     *output
	buffer *bytes.Buffer
}

func (s stream) Write(p []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	close(s.to.grown)
	s.to.grown = make(chan struct{})
	return s.buffer.Write(p)
}

// begin starts a command of hosts.sh. The command is killed when the test ends.
func (f *Fleet) begin(t harness.T, name string, args ...string) *Command {
	t.Helper()
	c := &Command{t: t, name: name, done: make(chan struct{})}
	c.out.grown = make(chan struct{})
	ctx, cancel := harness.Limited(context.Background())
	c.cmd = f.command(ctx, args...)
	c.cmd.WaitDelay = time.Second // for what it leaves with its stdout
	c.cmd.Stdout, c.cmd.Stderr = stream{&c.out, &c.out.out}, stream{&c.out, &c.out.errors}
	stdin, err := c.cmd.StdinPipe()
	must(t, err)
	c.stdin = stdin
	must(t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait()
		cancel()
		c.Code = c.cmd.ProcessState.ExitCode()
		close(c.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-c.done
	})
	return c
}

// Kill kills a command of the operator, and not what that has started, as when a terminal is lost.
func (c *Command) Kill() *Command {
	c.t.Helper()
	must(c.t, c.cmd.Process.Kill())
	<-c.done
	return c
}

// Terminate asks the command to end, and waits until it has.
func (c *Command) Terminate() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
	<-c.done
}

// Type writes a line to the command's stdin.
func (c *Command) Type(line string) *Command {
	c.t.Helper()
	_, err := io.WriteString(c.stdin, line+"\n")
	must(c.t, err)
	return c
}

// Wait ends the command's stdin and waits until the command ends.
func (c *Command) Wait() *Command {
	c.t.Helper()
	_ = c.stdin.Close()
	return c.Ended()
}

// Ended waits until the command ends, with its stdin open.
func (c *Command) Ended() *Command {
	c.t.Helper()
	<-c.done // begin limits it
	return c
}

// Want waits until the command ends, and ends the test unless its exit code is that one.
func (c *Command) Want(code int) *Command {
	c.t.Helper()
	if c.Wait(); c.Code != code {
		c.t.Fatalf("%s: exit code %d, want %d\n%s", c.name, c.Code, code, c.Text())
	}
	return c
}

// Await waits until the command has written text, on stdout or stderr.
func (c *Command) Await(text string) *Command {
	c.t.Helper()
	if !harness.Changes(c.done, func() (<-chan struct{}, bool) {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return c.out.grown, strings.Contains(c.out.out.String()+c.out.errors.String(), text)
	}) {
		c.t.Fatalf("%s did not say %q before its end, and within %s:\n%s", c.name, text, harness.Patience, c.Text())
	}
	return c
}

// Says fails the test unless the command has written text.
func (c *Command) Says(text string) *Command {
	c.t.Helper()
	if !strings.Contains(c.Text(), text) {
		c.t.Errorf("%s does not say %q:\n%s", c.name, text, c.Text())
	}
	return c
}

// Stdout returns what the command has written on stdout so far.
func (c *Command) Stdout() string {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.out.String()
}

// Text returns all that the command has written so far.
func (c *Command) Text() string {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.out.String() + c.out.errors.String()
}

// JSON decodes what an ended command wrote on stdout: its last JSON value.
func (c *Command) JSON(into any) {
	c.t.Helper()
	dec := json.NewDecoder(strings.NewReader(c.Stdout()))
	var last json.RawMessage
	for dec.More() {
		if err := dec.Decode(&last); err != nil {
			c.t.Fatalf("%s: its output is not JSON: %v\n%s", c.name, err, c.Text())
		}
	}
	if err := json.Unmarshal(last, into); err != nil {
		c.t.Fatalf("%s: %v\n%s", c.name, err, c.Text())
	}
}
