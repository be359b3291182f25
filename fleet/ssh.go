package fleet

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"superctl/fleet/inventory"
)

// SSH reaches hosts with the system's ssh, so that keys, agents, jump hosts and names are those of
// ~/.ssh/config. It implements [Transport].
type SSH struct {
	Fleet   *inventory.Fleet
	Program string   // "" = ssh
	Options []string // before superctl's own, which do not override what is given here
}

// sshExit is the exit code of ssh when ssh itself failed; superctl has none above 6.
const sshExit = 255

// partingTime is how long a command has after the end of its stdin, or after its context was
// canceled, to abort what it does before ssh is killed.
const partingTime = 15 * time.Second

// options are the options of every connection: no question at the terminal, and a cut cable is
// noticed within six seconds.
func options() []string {
	return []string{
		"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3",
		"-o", "LogLevel=ERROR",
	}
}

// Run runs superctl with args on a host.
func (s *SSH) Run(ctx context.Context, host string, c Call) error {
	line, err := quote(c.Args)
	if err != nil {
		return err
	}
	return s.run(ctx, host, s.script("exec %s"+line), c)
}

// Ship copies a bundle, and its signature if it has one, as a tar archive over the connection that
// then runs superctl.
func (s *SSH) Ship(ctx context.Context, host string, b *Bundle, c Call) error {
	line, err := quote(c.Args)
	if err != nil {
		return err
	}
	file, err := quote([]string{filepath.Base(b.sent())})
	if err != nil {
		return err
	}
	script := s.script(`d=$(mktemp -d) || exit; trap 'rm -rf "$d"' EXIT; trap 'exit 1' HUP INT TERM; ` +
		`tar -xf - -C "$d" || exit; chmod -R go+rX "$d"; %s` + line + ` "$d"/` + strings.TrimSpace(file))
	archive, writer := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := b.archive(writer)
		writer.CloseWithError(err)
		sent <- err
	}()
	c.Stdin = archive
	err = s.run(ctx, host, script, c)
	archive.CloseWithError(io.ErrClosedPipe)
	if local := <-sent; local != nil && !errors.Is(local, io.ErrClosedPipe) {
		return local
	}
	return err
}

// script returns a command for the remote shell, whatever shell that is: sh runs format, in which
// %s is superctl with the rights that it needs.
func (s *SSH) script(format string) string {
	superctl := "superctl --app " + s.Fleet.App + " " // an app's name needs no quotes
	sudo := `s=; [ "$(id -u)" = 0 ] || s="sudo -n"; `
	switch set := s.Fleet.Sudo; {
	case set != nil && *set:
		sudo = `s="sudo -n"; `
	case set != nil:
		sudo = `s=; `
	}
	script := sudo + strings.Replace(format, "%s", "$s "+superctl, 1)
	return "sh -c '" + strings.ReplaceAll(script, "'", `'\''`) + "'"
}

// quote returns args as words of a POSIX shell, with a space before each.
func quote(args []string) (string, error) {
	var b strings.Builder
	for _, a := range args {
		q, err := syntax.Quote(a, syntax.LangPOSIX)
		if err != nil {
			return "", fmt.Errorf("argument %q: %w", a, err)
		}
		b.WriteString(" " + q)
	}
	return b.String(), nil
}

// run runs a command line on a host. The end of ctx ends its stdin first, so that it can abort.
func (s *SSH) run(ctx context.Context, host, line string, c Call) error {
	args := append(append([]string{}, s.Options...), options()...)
	args = append(args, s.address(host)...)
	cmd := exec.CommandContext(ctx, cmp.Or(s.Program, "ssh"), append(args, "--", line)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the run, which then ends its commands
	stderr := &tail{}
	cmd.Stdout, cmd.Stderr = c.Stdout, io.Writer(stderr)
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.WaitDelay = partingTime
	if !c.Deaf {
		cmd.Cancel = stdin.Close
	}
	if err := cmd.Start(); err != nil {
		return &LostError{fmt.Errorf("start ssh: %w", err)}
	}
	go func() { // ends with stdin, whose writer the caller closes
		if c.Stdin != nil {
			_, _ = io.Copy(stdin, c.Stdin)
		}
		_ = stdin.Close() // it may be closed already
	}()
	return outcomeOf(cmd.Wait(), stderr.lastLine())
}

// address returns the words that name a host to ssh.
func (s *SSH) address(name string) (words []string) {
	for _, h := range s.Fleet.Hosts {
		if h.Name != name {
			continue
		}
		if h.User != "" {
			words = append(words, "-l", h.User)
		}
		if h.Port != "" {
			words = append(words, "-p", h.Port)
		}
		return append(words, cmp.Or(h.Address, h.Name))
	}
	return []string{name}
}

// outcomeOf translates how ssh ended.
func outcomeOf(err error, last string) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit):
		return &LostError{err}
	case exit.ExitCode() == sshExit || exit.ExitCode() < 0:
		return &LostError{errors.New(cmp.Or(last, "the connection was lost"))}
	}
	return &ExitError{exit.ExitCode(), last}
}

// archive writes the bundle and its signature as a tar archive.
func (b *Bundle) archive(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, path := range b.files() {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(addFile(out, f), f.Close()); err != nil {
			return err
		}
	}
	return out.Close()
}

func addFile(out *tar.Writer, f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	err = out.WriteHeader(&tar.Header{Name: filepath.Base(f.Name()), Mode: 0o644, Size: st.Size(), Typeflag: tar.TypeReg})
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, f, st.Size())
	return err
}

// tailLimit is how many bytes of a command's stderr are kept.
const tailLimit = 8 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps the end of p.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - tailLimit; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

// lastLine returns the last line, without superctl's name before it.
func (t *tail) lastLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(t.buf.String()), "\n")
	return strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "superctl: ")
}
