//go:build linux

package console

import (
	"bufio"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// GoWord is the line on standard input at which a prepared change cuts over.
const GoWord = "go"

// stillHere is the line by which a client that gives no word yet shows that it is alive.
const stillHere = "wait"

// HeartbeatFlag is the flag --heartbeat of commands that wait for a word of their client.
func HeartbeatFlag() cli.Flag {
	return &cli.DurationFlag{
		Name: "heartbeat",
		Usage: "expect a line, such as \"wait\", on standard input at least every `DURATION`; a longer silence counts as its " +
			"end. This detects a cut connection",
	}
}

// AfterClient calls f when the standard input of a command ends, or is silent for longer than its
// --heartbeat: then its client is gone.
func AfterClient(cc *cli.Context, f func()) {
	go func() { // ends with the process: a read cannot be interrupted
		WordOf(cc.App.Reader, cc.Duration("heartbeat"), func() {})
		f()
	}()
}

// WordOf returns the first line of in that is not a sign of life, and "" at its end or after a
// silence of heartbeat; 0 = any silence. It calls answer for each sign of life, and leaves a goroutine
// that reads until in ends.
func WordOf(in io.Reader, heartbeat time.Duration, answer func()) string {
	lines := make(chan string)
	enough := make(chan struct{})
	defer close(enough)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- strings.TrimSpace(s.Text()):
			case <-enough:
				return
			}
		}
	}()
	var silent <-chan time.Time
	for {
		if heartbeat > 0 {
			silent = time.After(heartbeat)
		}
		select {
		case line, more := <-lines:
			if !more || line != stillHere {
				return line
			}
			answer()
		case <-silent:
			return ""
		}
	}
}
