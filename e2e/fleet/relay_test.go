package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// relayVariable makes this program the ssh of a client: it passes everything on to the real ssh, and
// each message waits until the test has seen it. Its value is the socket of the test.
const relayVariable = "SHOP_E2E_RELAY"

// message is what goes by between the client and a host.
type message struct {
	Host string
	Kind kind
	Text string
}

type kind string

const (
	begun kind = "begun" // a command begins on the host: its text
	word  kind = "word"  // the client writes a line to it
	sent  kind = "sent"  // the client has sent a file
	line  kind = "line"  // the host writes a line
)

// seeMessages calls see for each message of the clients with the environment that it returns. See
// is called from many goroutines, and the message waits for it.
func seeMessages(t *testing.T, dir string, see func(message)) (environment string) {
	t.Helper()
	path := filepath.Join(dir, "relay")
	l, err := net.Listen("unix", path)
	must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() {
				defer c.Close()
				in, m := json.NewDecoder(c), message{}
				for in.Decode(&m) == nil {
					see(m)
					if _, err := c.Write([]byte{'\n'}); err != nil {
						return // it was killed
					}
				}
			})
		}
	})
	return relayVariable + "=" + path
}

// relay is the main function of this program as ssh.
func relay() {
	path := os.Getenv(relayVariable)
	if path == "" {
		return
	}
	runtime.LockOSThread() // Pdeathsig is the death of the thread
	err := relayed(path, os.Args[1:])
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		os.Exit(exit.ExitCode())
	}
	os.Exit(255) // as ssh does
}

func relayed(path string, args []string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	host, command := args[len(args)-3], args[len(args)-1] // OPTIONS HOST -- COMMAND
	tell := teller(c, host)
	tell(begun, command)
	ssh := exec.Command("ssh", args...)
	ssh.Stderr = os.Stderr
	ssh.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := ssh.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := ssh.StdoutPipe()
	if err != nil {
		return err
	}
	if err := ssh.Start(); err != nil {
		return err
	}
	go func() {
		if strings.Contains(command, "tar -xf") {
			_, _ = io.Copy(stdin, os.Stdin)
			tell(sent, "")
		} else {
			passLines(stdin, os.Stdin, func(text string) { tell(word, text) })
		}
		_ = stdin.Close()
	}()
	passLines(os.Stdout, stdout, func(text string) { tell(line, text) })
	return ssh.Wait()
}

// teller returns a function that sends a message to the test, and returns when the test has seen it.
func teller(c net.Conn, host string) func(kind, string) {
	var one sync.Mutex
	out, seen := json.NewEncoder(c), bufio.NewReader(c)
	return func(k kind, text string) {
		one.Lock()
		defer one.Unlock()
		if out.Encode(message{host, k, text}) == nil {
			_, _ = seen.ReadByte() // the test may have ended
		}
	}
}

// passLines copies lines, each once it is told.
func passLines(to io.Writer, from io.Reader, tell func(string)) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			tell(strings.TrimSuffix(text, "\n"))
			if _, err := io.WriteString(to, text); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
