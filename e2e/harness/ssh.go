package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// SSH is a real SSH server of one app with its own keys, by which a test runs commands as from
// another host.
type SSH struct {
	program
	app     *App
	address string
}

// StartSSH starts an SSH server and waits until it accepts connections. It needs root.
func (a *App) StartSSH() *SSH {
	a.T.Helper()
	s := &SSH{app: a, address: a.freeAddress(200)}
	a.must(os.MkdirAll("/run/sshd", 0o755)) // sshd's privilege separation directory
	a.must(os.Mkdir(a.Path("ssh"), 0o700))
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
			a.Path("ssh", key)).CombinedOutput(); err != nil {
			a.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	host, port, err := net.SplitHostPort(s.address)
	a.must(err)
	public, err := os.ReadFile(a.Path("ssh", "host.pub"))
	a.must(err)
	a.WriteFile("ssh/known", fmt.Sprintf("[%s]:%s %s", host, port, public))
	a.WriteFile("ssh/config",
		fmt.Sprintf("ListenAddress %s\nPort %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM "+
			"no\nStrictModes no\nPermitRootLogin yes\n",
			host, port, a.Path("ssh", "host"), a.Path("ssh", "user.pub")))
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	a.must(err)
	s.cmd = exec.Command(sshd, "-D", "-e", "-f", a.Path("ssh", "config"))
	s.cmd.Env = a.env()
	a.must(s.start())
	a.T.Cleanup(s.stop)
	if !s.says("Server listening on") {
		a.Fatalf("sshd does not take connections:\n%s", s.log.String())
	}
	return s
}

// URL is the destination of a client's command, with the port.
func (s *SSH) URL() string { return "ssh://root@" + s.address }

// Type runs a shell command over SSH from an address of this machine, and returns its output. It
// fails the test if the command fails. superctl is in its PATH.
func (s *SSH) Type(from, command string) string {
	s.app.T.Helper()
	return s.Forced(from, fmt.Sprintf(
		"export SUPERCTL_CONFIG=%s PATH=%s:$PATH; %s", s.app.Config, filepath.Dir(s.app.Binary), command,
	))
}

// Forced is Type without the variables, for a key that has a command of its own.
func (s *SSH) Forced(from, command string) string {
	s.app.T.Helper()
	out, err := s.client(command, "-T", "-b", from).CombinedOutput()
	if err != nil {
		s.app.Fatalf("ssh: %s: %v\n%s\nsshd: %s", command, err, out, s.log.String())
	}
	return string(out)
}

// Begin begins a command of superctl over SSH, on a terminal of its own.
func (s *SSH) Begin(args ...string) *Command {
	s.app.T.Helper()
	c := &Command{app: s.app, Args: args, exited: make(chan struct{}), Began: time.Now()}
	c.cmd = s.client(fmt.Sprintf("SUPERCTL_CONFIG=%s exec %s %s", s.app.Config, s.app.Binary, strings.Join(args, " ")), "-tt")
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.start()
	s.app.T.Cleanup(func() { // sshd ends only after its sessions
		c.Kill()
		<-c.exited
	})
	return c
}

// client returns a client that runs a shell command.
func (s *SSH) client(command string, options ...string) *exec.Cmd {
	s.app.T.Helper()
	host, port, err := net.SplitHostPort(s.address)
	s.app.must(err)
	cmd := exec.Command("ssh", append(options, "-F", "none", "-p", port, "-i", s.app.Path("ssh", "user"), "-o",
		"BatchMode=yes", "-o", "IdentitiesOnly=yes",
		"-o", "UserKnownHostsFile="+s.app.Path("ssh", "known"), "-o", "ConnectTimeout=30", "root@"+host,
		command)...)
	cmd.Env = s.app.env()
	return cmd
}

func (s *SSH) stop() {
	s.app.T.Helper()
	s.end(s.app.T, syscall.SIGTERM)
}
