package fleetcommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/fleet"
	"superctl/plain"
)

func (c *command) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "show the output of the workers of all hosts",
		UsageText: "superctl @ENV logs [-f] [-n COUNT] [--process NAME] [--release NAME] [--json]",
		Description: `Shows the newest lines of each host, and with -f the new ones as they come, with the host before each.
With --json each line is an object, with the name of its host.

   superctl @production logs -f --process web`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "also show new lines, until Ctrl-C"},
			&cli.IntFlag{Name: "n", Aliases: []string{"lines"}, Value: 50, Usage: "show the newest `COUNT` lines of each host"},
			&cli.StringFlag{Name: "process", Usage: "show only the process `NAME`"},
			&cli.StringFlag{Name: "release", Usage: "show only the release `NAME`"},
			commandline.JSONFlag(),
		},
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			args := []string{"logs", "-n", strconv.Itoa(cc.Int("n"))}
			if cc.Bool("f") {
				args = append(args, "-f")
			}
			for _, name := range []string{"process", "release"} {
				if value := cc.String(name); value != "" {
					args = append(args, "--"+name, value)
				}
			}
			run := c.ssh.Run
			if cc.Bool("f") {
				run = func(ctx context.Context, host string, call fleet.Call) error {
					return fleet.Attend(ctx, c.ssh, host, call)
				}
			}
			if cc.Bool("json") {
				return c.onAll(ctx, append(args, "--json"), run, c.asObjects)
			}
			return c.onAll(ctx, args, run, c.prefixed)
		}),
	}
}

func (c *command) execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a command in the live release of each host",
		UsageText: "superctl @ENV exec [--json] [--] COMMAND [ARGUMENTS]",
		Description: `Runs COMMAND in the live release of each host, all at once, with the host before each line of its
output. With one host, input and output are those of COMMAND. The exit code is the greatest of all.
--json prints the exit code and the output of each host at the end.

   superctl @production exec python manage.py showmigrations
   superctl @production:web1 exec python manage.py shell`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: c.action(1, -1, func(ctx context.Context, cc *cli.Context) error {
			args := append([]string{"exec", "--"}, cc.Args().Slice()...)
			switch {
			case cc.Bool("json"):
				return c.execJSON(ctx, args)
			case len(c.hosts) == 1:
				err := c.ssh.Run(ctx, c.hosts[0], fleet.Call{
					Args: args, Stdin: c.stdin, Stdout: terminal.Raw(c.stdout), Stderr: terminal.Raw(c.stderr), Deaf: true,
				})
				return c.worst(ctx, []error{err})
			}
			return c.onAll(ctx, args, c.ssh.Run, c.prefixed)
		}),
	}
}

// execution is how a command ended on a host; its JSON is the contract of exec --json.
type execution struct {
	Exit   int    `json:"exit"` // 3 if the host cannot be reached
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Error  string `json:"error,omitempty"`
}

// execJSON runs a command on all hosts at once, and prints an object with how it ended on each.
func (c *command) execJSON(ctx context.Context, args []string) error {
	ends := make([]execution, len(c.hosts))
	errs := c.onEach(func(i int, host string) error {
		var stdout, stderr bytes.Buffer
		err := c.ssh.Run(ctx, host, fleet.Call{Args: args, Stdout: &stdout, Stderr: &stderr, Deaf: true})
		ends[i] = execution{Stdout: stdout.String(), Stderr: stderr.String()}
		var exit *fleet.ExitError
		switch {
		case errors.As(err, &exit):
			ends[i].Exit = exit.Code
			return &fleet.ExitError{Code: exit.Code}
		case err != nil:
			ends[i].Exit, ends[i].Error = api.ExitUnreachable, err.Error()
		}
		return err
	})
	all := make(map[string]execution)
	for i, host := range c.hosts {
		all[host] = ends[i]
	}
	return errors.Join(terminal.WriteJSON(c.stdout, all), c.worst(ctx, errs))
}

// relay passes on what a command writes on a host.
type relay func(host string, out io.Writer, lock *sync.Mutex) relayWriter

// relayWriter passes on the output of one command. end flushes it; err is how the command ended.
type relayWriter interface {
	io.Writer
	end(err error) error
}

// onAll runs a command on all hosts at once and passes on what it writes.
func (c *command) onAll(
	ctx context.Context, args []string, run func(context.Context, string, fleet.Call) error, stdout relay,
) error {
	var lock sync.Mutex
	errs := c.onEach(func(_ int, host string) error {
		out, errOut := stdout(host, c.stdout, &lock), c.prefixed(host, c.stderr, &lock)
		err := run(ctx, host, fleet.Call{Args: args, Stdout: out, Stderr: errOut, Deaf: true})
		end := err
		if ctx.Err() != nil {
			end = nil // the operator ended it
		}
		_ = errors.Join(out.end(end), errOut.end(end)) // the terminal or the reader is gone
		return err
	})
	return c.worst(ctx, errs)
}

// hostWriter writes whole lines with the name of a host before each.
type hostWriter struct {
	prefix string
	out    io.Writer
	lock   *sync.Mutex // of all hosts
	rest   []byte      // of an unfinished line
}

// prefixed is the relay of lines with the host before each; with one host, of bytes as they are.
func (c *command) prefixed(host string, out io.Writer, lock *sync.Mutex) relayWriter {
	if len(c.hosts) == 1 {
		return unchanged{terminal.Raw(out)}
	}
	width := 0
	for _, h := range c.hosts {
		width = max(width, terminal.Width(h))
	}
	prefix := terminal.PaletteFor(out).Dim(fmt.Sprintf("%-*s |", width, host)) + " "
	return &hostWriter{prefix: prefix, out: out, lock: lock}
}

// Write prints the lines that are complete.
func (w *hostWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.line(w.rest[:i])
		w.rest = w.rest[i+1:]
	}
}

// end prints an unfinished line.
func (w *hostWriter) end(error) error {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = nil
	}
	return nil
}

func (w *hostWriter) line(text []byte) {
	w.lock.Lock()
	defer w.lock.Unlock()
	fmt.Fprintf(w.out, "%s%s\n", w.prefix, plain.Text(string(text)))
}

// unchanged passes on what it gets.
type unchanged struct{ io.Writer }

func (unchanged) end(error) error { return nil }

// objectWriter prints JSON objects as lines, with the name of a host in each.
type objectWriter struct {
	host string
	out  io.Writer
	lock *sync.Mutex // of all hosts
	text bytes.Buffer

	failed bool // the command has printed why it failed
}

// asObjects is the relay of JSON objects.
func (c *command) asObjects(host string, out io.Writer, lock *sync.Mutex) relayWriter {
	return &objectWriter{host: host, out: out, lock: lock}
}

// Write prints the objects that are complete.
func (w *objectWriter) Write(p []byte) (int, error) {
	w.text.Write(p)
	for {
		in := json.NewDecoder(bytes.NewReader(w.text.Bytes()))
		var object map[string]any
		if err := in.Decode(&object); err != nil {
			return len(p), nil //nolint:nilerr // it is not complete yet
		}
		w.text.Next(int(in.InputOffset()))
		w.failed = w.failed || object["exit"] != nil
		if err := w.print(object); err != nil {
			return 0, err
		}
	}
}

func (w *objectWriter) print(object map[string]any) error {
	object["host"] = w.host
	w.lock.Lock()
	defer w.lock.Unlock()
	return writeLine(w.out, object)
}

// end drops an object that is not complete, and prints why the command failed, as an [api.Failure] with
// the host, unless the command did.
func (w *objectWriter) end(err error) error {
	if err == nil || w.failed {
		return nil
	}
	code := api.ExitUnreachable
	if exit := new(fleet.ExitError); errors.As(err, &exit) {
		code = exit.Code
	}
	return w.print(map[string]any{"error": err.Error(), "exit": code})
}

// writeLine writes a value as one line of JSON.
func writeLine(out io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return terminal.WriteJSONLine(out, text)
}
