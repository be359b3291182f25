package oldserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"superctl/proc"
	"superctl/takeover/running"
)

// Arg is the first argument of the process that stops a server. It is not a command for users.
const Arg = "stop-old-server"

// order is what the process is to do.
type order struct {
	Server  *running.Server
	Options Options
}

// message is a line from the process.
type message struct {
	Step   string  `json:",omitempty"`
	Report *Report `json:",omitempty"`
	Error  string  `json:",omitempty"`
}

// Stop stops a server that superctl has replaced, and returns when all its processes have ended. A
// server that has ended already is no error.
//
// It starts a process in a session of its own for it. That process goes on when ctx ends or this
// process is killed; after the stop it relays the requests of connections that it still holds, and
// ends after a minute.
func Stop(ctx context.Context, s *running.Server, o Options) (Report, error) {
	if o.Drain == 0 {
		o.Drain = defaultDrain
	}
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	input, err := json.Marshal(order{s, o})
	if err != nil {
		return Report{}, err
	}
	cmd := exec.Command(proc.SelfExe, Arg) //nolint:noctx // it must go on when ctx ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Report{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Report{}, err
	}
	if err := cmd.Start(); err != nil {
		return Report{}, fmt.Errorf("stop the old server: %w", err)
	}
	if _, err := stdin.Write(append(input, '\n')); err != nil {
		return Report{}, fmt.Errorf("stop the old server: %w", err)
	}
	stopped := context.AfterFunc(ctx, func() { _ = stdout.Close() })
	defer stopped()
	report, err := listen(stdout, say)
	if ctx.Err() != nil {
		return report, fmt.Errorf("%w; process %d goes on with the stop", context.Cause(ctx), cmd.Process.Pid)
	}
	return report, err
}

// listen reads the messages of the process until its report.
func listen(r io.Reader, say func(string)) (Report, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return Report{}, fmt.Errorf("stop the old server: %w", err)
		}
		if m.Step != "" {
			say(m.Step)
		}
		if m.Report != nil {
			if m.Error != "" {
				return *m.Report, errors.New(m.Error)
			}
			return *m.Report, nil
		}
	}
	return Report{}, errors.New("stop the old server: the process that does it was killed; run the command again")
}

// Main is the process that stops a server. It returns its exit code.
func Main(stdin io.Reader, stdout io.Writer) int {
	// The terminal may close, and the reader of stdout may be killed.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	out := json.NewEncoder(stdout)
	var o order
	line, err := bufio.NewReader(stdin).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil || o.Server == nil {
		fmt.Fprintf(os.Stderr, "superctl %s is no command for users\n", Arg)
		return 2
	}
	o.Options.Progress = func(step string) { _ = out.Encode(message{Step: step}) }
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	report, finish, err := stop(ctx, o.Server, o.Options)
	m := message{Report: &report}
	if err != nil {
		m.Error = err.Error()
	}
	_ = out.Encode(m)
	if finish() != nil || err != nil {
		return 1
	}
	return 0
}
