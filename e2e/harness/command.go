package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"superctl/load"
)

// Command is a superctl command that is running or has run.
type Command struct {
	app    *App
	Args   []string
	cmd    *exec.Cmd
	stdin  io.WriteCloser // nil = /dev/null
	stdout syncBuffer
	stderr syncBuffer
	exited chan struct{}

	Code         int // -1: ended by a signal
	Began, Ended time.Time
}

// Command runs a command and waits for its end.
func (a *App) Command(args ...string) *Command {
	a.T.Helper()
	c := a.Begin(args...)
	c.Wait()
	return c
}

// Begin starts a command.
func (a *App) Begin(args ...string) *Command {
	a.T.Helper()
	return a.newCommand(args).start()
}

// Converse starts a command that reads what Type writes, until EndInput.
func (a *App) Converse(args ...string) *Command {
	a.T.Helper()
	c := a.newCommand(args)
	var err error
	c.stdin, err = c.cmd.StdinPipe()
	a.must(err)
	return c.start()
}

func (a *App) newCommand(args []string) *Command {
	c := &Command{app: a, Args: args, exited: make(chan struct{}), Began: time.Now()}
	c.cmd = exec.Command(a.Binary, args...)
	c.cmd.Dir, c.cmd.Env = a.Dir, a.env()
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	return c
}

func (c *Command) start() *Command {
	c.app.T.Helper()
	c.app.must(c.cmd.Start())
	go func() {
		_ = c.cmd.Wait()
		c.Ended, c.Code = time.Now(), c.cmd.ProcessState.ExitCode()
		close(c.exited)
	}()
	return c
}

// Wait waits for the command's end.
func (c *Command) Wait() *Command {
	c.app.T.Helper()
	if limit := 2 * Patience; !endsWithin(limit, c.exited) { // it may wait for as long as a test
		_ = c.cmd.Process.Kill()
		<-c.exited
		c.app.Fatalf("%s did not end within %s", c, limit)
	}
	return c
}

// Type writes a line to the standard input of a command of Converse.
func (c *Command) Type(line string) {
	c.app.T.Helper()
	_, err := io.WriteString(c.stdin, line+"\n")
	c.app.must(err)
}

// EndInput ends the standard input of a command of Converse.
func (c *Command) EndInput() {
	c.app.T.Helper()
	c.app.must(c.stdin.Close())
}

// Interrupt sends SIGINT, as Ctrl-C does.
func (c *Command) Interrupt() {
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.app.Fatalf("interrupt %s: %v", c, err)
	}
}

// HangUp sends SIGHUP, as the end of its terminal does.
func (c *Command) HangUp() { _ = c.cmd.Process.Signal(syscall.SIGHUP) }

// Kill kills the command with SIGKILL, so that the daemon sees its connection end.
func (c *Command) Kill() { _ = c.cmd.Process.Signal(syscall.SIGKILL) }

// Want ends the test unless the command exited with that code.
func (c *Command) Want(code int) *Command {
	c.app.T.Helper()
	if c.Code != code {
		c.app.Fatalf("%s: exit code %d, want %d\n%s", c, c.Code, code, c.Text())
	}
	return c
}

// Says ends the test unless the command wrote all of the words, on stdout or stderr.
func (c *Command) Says(words ...string) *Command {
	c.app.T.Helper()
	for _, w := range words {
		if !strings.Contains(c.Text(), w) {
			c.app.Fatalf("%s does not say %q:\n%s", c, w, c.Text())
		}
	}
	return c
}

// Stdout returns its output on stdout so far.
func (c *Command) Stdout() string { return c.stdout.String() }

// Stderr returns its output on stderr so far.
func (c *Command) Stderr() string { return c.stderr.String() }

// Text returns its output on stdout and stderr so far.
func (c *Command) Text() string { return c.Stdout() + c.Stderr() }

// String returns the command line.
func (c *Command) String() string { return "superctl " + strings.Join(c.Args, " ") }

// Await waits until the command has written text, on stdout or stderr.
func (c *Command) Await(text string) {
	c.app.T.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		out, errs := c.stdout.grown(), c.stderr.grown()
		if strings.Contains(c.Text(), text) {
			return
		}
		select {
		case <-out:
		case <-errs:
		case <-c.exited:
			if !strings.Contains(c.Text(), text) {
				c.app.Fatalf("%s ended with %d and did not say %q:\n%s", c, c.Code, text, c.Text())
			}
		case <-late.C:
			c.app.Fatalf("%s did not say %q within %s:\n%s", c, text, Patience, c.Text())
		}
	}
}

// Change runs a command that changes something, with --json, and returns its outcome.
func (a *App) Change(code int, args ...string) Outcome {
	a.T.Helper()
	return a.Command(append(args, "--json")...).Want(code).Outcome()
}

// Outcome returns the outcome in the output of a command with --json: its last JSON value.
func (c *Command) Outcome() Outcome {
	c.app.T.Helper()
	var last json.RawMessage
	dec := json.NewDecoder(strings.NewReader(c.Stdout()))
	for {
		var v json.RawMessage
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			c.app.Fatalf("%s: its output is not JSON: %v\n%s", c, err, c.Text())
		}
		last = v
	}
	var wrapped struct {
		Outcome *json.RawMessage `json:"outcome"`
	}
	var o Outcome
	if json.Unmarshal(last, &wrapped) == nil && wrapped.Outcome != nil &&
		bytes.HasPrefix(*wrapped.Outcome, []byte("{")) {
		last = *wrapped.Outcome
	}
	if err := json.Unmarshal(last, &o); err != nil || o.Result == "" {
		c.app.Fatalf("%s: no outcome in its output: %v\n%s", c, err, c.Text())
	}
	return o
}

// Status returns the result of `status --json`.
func (a *App) Status() Status {
	a.T.Helper()
	return a.Command("status", "--json").Want(0).Status()
}

// Status returns the status in the output of `status --json`.
func (c *Command) Status() (s Status) {
	c.app.T.Helper()
	if err := json.Unmarshal([]byte(c.Stdout()), &s); err != nil {
		c.app.Fatalf("%s: %v\n%s", c, err, c.Text())
	}
	return s
}

// Live returns the live generation of a status.
func (a *App) Live(s Status) Generation {
	a.T.Helper()
	for _, g := range s.Generations {
		if g.State == "live" && g.ID == s.Generation {
			return g
		}
	}
	a.Fatalf("no generation is live: %+v", s)
	return Generation{}
}

// Cutover returns when the gates turned from one generation to another in a change. Tests compare
// it with the answers that clients got, which exposes a daemon that reports a wrong time.
func (a *App) Cutover(from int, o Outcome) load.Cutover {
	a.T.Helper()
	for _, s := range o.Steps {
		if s.Name == "cutover" {
			return load.Cutover{
				From: from, To: o.Generation, Began: s.Began,
				Ended: s.Began.Add(time.Duration(s.Seconds * float64(time.Second))),
			}
		}
	}
	a.Fatalf("the outcome has no cutover: %+v", o)
	return load.Cutover{}
}
