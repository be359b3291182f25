package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// talk is the stdin of a command that waits on a host. A nil talk is that of a command which was
// not begun.
type talk struct {
	words  chan string // "go", or a question; closed = no more words
	closed bool
}

// say sends a word. It does not block: there is a question and a word at most, because the word comes
// after the answer.
func (t *talk) say(word string) { t.words <- word }

// newTalk returns the stdin of a command that is about to begin.
func newTalk() *talk { return &talk{words: make(chan string, 2)} }

// close ends the stdin of the command, which then aborts or releases what it holds.
func (t *talk) close() {
	if t != nil && !t.closed {
		t.closed = true
		close(t.words)
	}
}

// stillHere is the line that tells a waiting command that its client is alive, and which a prepared
// change answers. Without it a host would notice a cut cable only when TCP gives up, after minutes or
// hours.
const stillHere = "wait"

// send writes words, and signs of life between them, until the words end or the command does.
func send(w *io.PipeWriter, words <-chan string, every time.Duration) {
	defer w.Close()
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		text := stillHere + "\n"
		select {
		case word, ok := <-words:
			if !ok {
				return
			}
			text = word + "\n"
		case <-beat.C:
		}
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// Attend is Run for a command with --heartbeat that ends with its stdin: on its host it ends soon
// after ctx, this process or the cable does. Attend adds the option.
func Attend(ctx context.Context, t Transport, host string, c Call) error {
	limits := Limits{}.withDefaults()
	stdin, w := io.Pipe()
	c.Stdin, c.Args = stdin, append(slices.Clone(c.Args), "--heartbeat", limits.Dead.String())
	sending := make(chan struct{})
	go func() { send(w, nil, limits.Beat); close(sending) }()
	err := t.Run(ctx, host, c)
	_ = stdin.Close() // of a pipe: it does not fail
	<-sending
	return err
}

// hold runs a command that reads words from its stdin and writes to stdout, until it ends.
func (r *run) hold(ctx context.Context, m *member, t *talk, args []string, stdout io.Writer) error {
	stdin, w := io.Pipe()
	r.gone.Go(func() { send(w, t.words, r.limits.Beat) })
	err := r.transport.Run(ctx, m.name, Call{Args: args, Stdin: stdin, Stdout: stdout})
	_ = stdin.Close() // of a pipe: it does not fail
	return err
}

// lineWriter calls f when the first line is complete.
type lineWriter struct {
	buf bytes.Buffer
	f   func(line string)
}

// Write keeps what it gets until a line is complete.
func (l *lineWriter) Write(p []byte) (int, error) {
	if l.f != nil {
		l.buf.Write(p)
		if line, _, ok := strings.Cut(l.buf.String(), "\n"); ok {
			l.f(line)
			l.f = nil
		}
	}
	return len(p), nil
}

// message is any line of a prepared change: that it is ready, an answer, an event, or its outcome.
type message struct {
	Ready   bool   `json:"ready"`
	Waiting bool   `json:"waiting"` // it has read stillHere
	Release string `json:"release"`
	Type    string `json:"type"`
	Result  string `json:"outcome"`
}

// listen reads the messages of a prepared change until its output ends, and returns its outcome,
// or nil if it has none.
func listen(out io.Reader, isReady func(release string), waits func(), step func(api.Event)) *api.Outcome {
	var outcome *api.Outcome
	in := json.NewDecoder(out)
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			_, _ = io.Copy(io.Discard, out)
			return outcome
		}
		var m message
		if json.Unmarshal(raw, &m) != nil {
			continue
		}
		switch {
		case m.Ready:
			isReady(m.Release)
		case m.Waiting:
			waits()
		case m.Type != "":
			var ev api.Event
			if json.Unmarshal(raw, &ev) == nil {
				step(ev)
			}
		case m.Result != "":
			var o api.Outcome
			if json.Unmarshal(raw, &o) == nil {
				outcome = &o
			}
		}
	}
}

// ask runs a command that prints one JSON value, and decodes it into v. A command that fails may
// have printed it all the same.
func ask(ctx context.Context, t Transport, host string, v any, args ...string) error {
	var out bytes.Buffer
	err := t.Run(ctx, host, Call{Args: args, Stdout: &out})
	if isLost(err) {
		return err
	}
	text := bytes.TrimSpace(out.Bytes())
	if failure := failureIn(text, err); failure != nil {
		return failure
	}
	if len(text) > 0 {
		return errors.Join(err, json.Unmarshal(text, v))
	}
	return err
}

// failureIn returns the error of a command that printed an [api.Failure] in place of what it was asked
// for, or nil. It has the whole reason, while err has the last line of stderr.
func failureIn(text []byte, err error) error {
	var exit *ExitError
	var printed struct {
		api.Failure
		Result api.Result `json:"outcome"`
	}
	if !errors.As(err, &exit) || !json.Valid(text) {
		return nil
	}
	_ = json.Unmarshal(text, &printed) // of a list nothing is read
	if printed.Error == "" || printed.Exit == 0 || printed.Result != "" {
		return nil
	}
	return &ExitError{exit.Code, printed.Error}
}
