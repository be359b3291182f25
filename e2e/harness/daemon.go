package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long the harness waits for anything; only a defect takes so long.
const patience = 60 * time.Second

func limited(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), d, fmt.Errorf("not within %s", d))
}

// Daemon is one process of `superctl daemon`.
type Daemon struct {
	app    *App
	cmd    *exec.Cmd
	output string        // path of what it wrote
	exited chan struct{} // closed when it is reaped
	notify *net.UnixConn

	mu       sync.Mutex
	messages []string      // guarded by mu: what it told its service manager
	heard    chan struct{} // guarded by mu: closed and replaced at each message
}

// Start starts a daemon and waits for its READY=1, as systemd would. With a release it then switches to that.
func (a *App) Start(release string) *Daemon {
	a.T.Helper()
	d := a.Launch()
	if err := d.Ready(); err != nil {
		a.Fatalf("start the daemon: %v\n%s", err, d.Output())
	}
	if release != "" {
		a.Command("switch", release).Want(0)
	}
	return d
}

// Launch starts a daemon without waiting for anything. env is added to its environment.
func (a *App) Launch(env ...string) *Daemon {
	a.T.Helper()
	path := a.Path("notify.sock")
	_ = os.Remove(path)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	a.must(err)
	out, err := os.CreateTemp(a.Dir, "daemon-*.log")
	a.must(err)
	d := &Daemon{app: a, output: out.Name(), exited: make(chan struct{}), notify: notify, heard: make(chan struct{})}
	d.cmd = exec.Command(a.Binary, "daemon")
	d.cmd.Dir = a.Dir
	d.cmd.Env = append(a.env("NOTIFY_SOCKET="+path, "GOTRACEBACK=all"), env...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = d.cmd.Start()
	_ = out.Close()
	if err != nil {
		_ = notify.Close()
		a.Fatalf("start the daemon: %v", err)
	}
	a.Daemon = d
	go d.listen()
	go func() {
		_ = d.cmd.Wait()
		close(d.exited)
	}()
	return d
}

// env is the environment of everything that belongs to the app.
func (a *App) env(more ...string) []string {
	return append([]string{
		mark + "=" + a.Dir, "SUPERCTL_CONFIG=" + a.Config, "TMPDIR=" + a.Path("tmp"), "HOME=" + a.Dir, "LANG=C.UTF-8",
		"PATH=" + os.Getenv("PATH"),
	}, more...)
}

// listen takes what the daemon tells its service manager.
func (d *Daemon) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := d.notify.Read(buf)
		if err != nil {
			return
		}
		d.mu.Lock()
		d.messages = append(d.messages, string(buf[:n]))
		close(d.heard)
		d.heard = make(chan struct{})
		d.mu.Unlock()
	}
}

// Ready waits until the daemon has said READY=1. It fails when the daemon exits instead.
func (d *Daemon) Ready() error {
	return d.Says(func(line string) bool { return line == "READY=1" })
}

// Says waits until the daemon has told its service manager a line that matches.
func (d *Daemon) Says(match func(line string) bool) error {
	ctx, cancel := limited(patience)
	defer cancel()
	for {
		d.mu.Lock()
		heard := d.heard
		said := slices.ContainsFunc(d.messages, func(m string) bool { return slices.ContainsFunc(strings.Split(m, "\n"), match) })
		d.mu.Unlock()
		if said {
			return nil
		}
		select {
		case <-heard:
		case <-d.exited:
			return fmt.Errorf("the daemon has ended: %s", d.cmd.ProcessState)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Ended tells whether the daemon has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// PID is the daemon's process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// PeakMemory is the most memory that it has had resident, in bytes.
func (d *Daemon) PeakMemory() int {
	d.app.T.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	d.app.must(err)
	_, text, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	_, err = fmt.Sscan(text, &kilobytes)
	d.app.must(err)
	return kilobytes << 10
}

// Output is all that the daemon has written until now.
func (d *Daemon) Output() string {
	content, _ := os.ReadFile(d.output)
	return string(content)
}

// Signal sends a signal to the daemon only.
func (d *Daemon) Signal(sig os.Signal) {
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.app.Fatalf("signal the daemon: %v", err)
	}
}

// Wait waits for the end of the daemon and returns its exit code, or -1 if a signal ended it.
func (d *Daemon) Wait() int {
	d.app.T.Helper()
	select {
	case <-d.exited:
		_ = d.notify.Close()
		_ = os.Remove(d.app.Path("notify.sock"))
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		d.Signal(syscall.SIGQUIT) // its goroutines tell where it hangs
		<-d.exited
		d.app.Fatalf("the daemon did not end within %s", patience)
		return -1
	}
}

// Stop ends the daemon as systemd does, and all that it runs.
func (d *Daemon) Stop() {
	d.app.T.Helper()
	d.Signal(syscall.SIGTERM)
	if code := d.Wait(); code != 0 {
		d.app.T.Errorf("after SIGTERM the daemon exited with %d", code)
	}
}

// Kill ends the daemon as a crash does, and leaves its workers alone.
func (d *Daemon) Kill() {
	d.app.T.Helper()
	d.Signal(syscall.SIGKILL)
	d.Wait()
}

// stopQuietly is Stop for the end of a test, where the daemon may have been stopped already, or killed with its workers
// left behind: those a later daemon would have stopped, so it is nothing that must not happen.
func (d *Daemon) stopQuietly() {
	d.app.T.Helper()
	select {
	case <-d.exited:
		_ = d.notify.Close()
		_ = os.Remove(d.app.Path("notify.sock"))
		if d.cmd.ProcessState.ExitCode() == -1 {
			endAll(d.app.Dir)
			d.app.forget()
		}
	default:
		d.Stop()
	}
}

// forget removes the sockets and FIFOs that a killed daemon could not.
func (a *App) forget() {
	for _, dir := range []string{"run", "state"} {
		_ = os.RemoveAll(filepath.Join(a.Dir, dir))
	}
}

// Descriptors are what the daemon has open, by what they lead to.
func (d *Daemon) Descriptors() []string {
	dir := fmt.Sprintf("/proc/%d/fd", d.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.app.Fatalf("descriptors of the daemon: %v", err)
	}
	var open []string
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(to, ":[") // the inode behind it differs each time
		open = append(open, kind)
	}
	slices.Sort(open)
	return open
}
