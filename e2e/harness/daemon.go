package harness

import (
	"crypto/sha256"
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

	"superctl/proc"
)

// Daemon is one process of `superctl daemon`.
type Daemon struct {
	app    *App
	cmd    *exec.Cmd
	output string        // path of its output
	exited chan struct{} // closed when it has been reaped
	notify *net.UnixConn

	mu       sync.Mutex
	messages []string      // guarded by mu: what it sent to its service manager
	heard    chan struct{} // guarded by mu: closed and replaced at each message
}

// Start starts a daemon and waits for its READY=1, as systemd does. With a release it then switches
// to that.
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

// Launch starts a daemon without waiting for it. env is added to its environment.
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

// env returns the environment of every process that belongs to the app.
func (a *App) env(more ...string) []string {
	return append([]string{
		mark + "=" + a.Dir, "SUPERCTL_CONFIG=" + a.Config, "TMPDIR=" + a.Path("tmp"), "HOME=" + a.Dir, "LANG=C.UTF-8",
		"PATH=" + os.Getenv("PATH"),
	}, more...)
}

// listen receives the daemon's messages to its service manager.
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

// Ready waits for READY=1 from the daemon. It fails if the daemon exits first.
func (d *Daemon) Ready() error {
	return d.Says(func(line string) bool { return line == "READY=1" })
}

// Says waits until the daemon has sent its service manager a line that matches.
func (d *Daemon) Says(match func(line string) bool) error {
	said := Changes(d.exited, func() (<-chan struct{}, bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.heard, slices.ContainsFunc(d.messages,
			func(m string) bool { return slices.ContainsFunc(strings.Split(m, "\n"), match) })
	})
	switch {
	case said:
		return nil
	case d.Ended():
		return fmt.Errorf("the daemon has ended: %s", d.cmd.ProcessState)
	}
	return fmt.Errorf("not within %s", Patience)
}

// Ended reports whether the daemon has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// PID returns the daemon's process ID.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// PeakMemory returns the daemon's peak resident memory in bytes.
func (d *Daemon) PeakMemory() int {
	d.app.T.Helper()
	st, err := proc.ReadStatus(d.PID())
	d.app.must(err)
	return int(st.PeakSize)
}

// Output returns the daemon's output so far.
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
	if !endsWithin(Patience, d.exited) {
		d.Signal(syscall.SIGQUIT) // prints the goroutines, which show where it hangs
		<-d.exited
		d.app.Fatalf("the daemon did not end within %s", Patience)
	}
	_ = d.notify.Close()
	_ = os.Remove(d.app.Path("notify.sock"))
	return d.cmd.ProcessState.ExitCode()
}

// Stop stops the daemon and its workers, as systemd does.
func (d *Daemon) Stop() {
	d.app.T.Helper()
	d.Signal(syscall.SIGTERM)
	if code := d.Wait(); code != 0 {
		d.app.T.Errorf("after SIGTERM the daemon exited with %d", code)
	}
}

// Kill kills the daemon as a crash does, and leaves its workers running.
func (d *Daemon) Kill() {
	d.app.T.Helper()
	d.Signal(syscall.SIGKILL)
	d.Wait()
}

// stopQuietly is Stop for the end of a test, where the daemon may have been stopped already, or
// killed with its workers left running. A later daemon would have stopped those, so they are not an
// error.
func (d *Daemon) stopQuietly() {
	d.app.T.Helper()
	select {
	case <-d.exited:
		_ = d.notify.Close()
		_ = os.Remove(d.app.Path("notify.sock"))
		if d.cmd.ProcessState.ExitCode() == -1 {
			endAll(d.app.Dir)
			d.app.removeSockets()
		}
	default:
		d.Stop()
	}
}

// removeSockets removes the sockets, FIFOs and values in memory that a killed daemon could not.
func (a *App) removeSockets() {
	for _, dir := range append(a.inMemory(), a.Path("run"), a.Path("state")) {
		_ = os.RemoveAll(dir)
	}
}

// inMemory returns the directories in which daemons of the app keep the values of variables.
func (a *App) inMemory() []string {
	sum := sha256.Sum256([]byte(a.Path("state")))
	dirs, _ := filepath.Glob(fmt.Sprintf("/dev/shm/superctl-*-%s-%x", a.Name, sum[:4])) // the pattern is valid
	return dirs
}

// Descriptors returns the targets of the daemon's open descriptors.
func (d *Daemon) Descriptors() []string {
	all, err := proc.Descriptors(d.PID())
	if err != nil {
		d.app.Fatalf("descriptors of the daemon: %v", err)
	}
	var open []string
	for _, f := range all {
		kind, _, _ := strings.Cut(f.Target, ":[") // the inode after it differs each time
		open = append(open, kind)
	}
	slices.Sort(open)
	return open
}
