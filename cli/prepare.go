//go:build linux

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/daemon/control"
)

// prepareLimit is the default of --prepare: how long a prepared change waits for its word.
const prepareLimit = 10 * time.Minute

// errNoWord is why a prepared change is aborted that gets another word than goWord.
var errNoWord = errors.New(`standard input ended, or had another line than "go"`)

// optionalValue is the text of an optionalFlag. Package flag sets "true" when it is left out.
type optionalValue string

// Set sets the text.
func (v *optionalValue) Set(text string) error { *v = optionalValue(text); return nil }

// String returns the text, or "" if the flag was not given.
func (v *optionalValue) String() string { return string(*v) }

// IsBoolFlag reports that the value may be left out (package flag).
func (v *optionalValue) IsBoolFlag() bool { return true }

func prepareFlag() cli.Flag {
	return commandline.OptionalFlag{GenericFlag: &cli.GenericFlag{
		Name: "prepare", Value: new(optionalValue),
		Usage: "do everything before the cutover, print \"ready\", and wait for the line \"go\" on standard input; " +
			"abort when it ends, at any other line, or after `LIMIT` (10m if left out)",
	}}
}

// prepareFrom returns the limit of --prepare, or 0 if it is not given.
func prepareFrom(cc *cli.Context) (time.Duration, error) {
	v, ok := cc.Generic("prepare").(*optionalValue)
	if !ok || !cc.IsSet("prepare") {
		return 0, nil
	}
	if *v == "true" {
		return prepareLimit, nil
	}
	limit, err := time.ParseDuration(v.String())
	if err != nil || limit <= 0 {
		return 0, fmt.Errorf("--prepare=%s: invalid limit: use a duration such as 30s or 10m", v)
	}
	return limit, nil
}

// prompt asks the daemon for a change and, if the change is prepared, passes the word on from
// standard input. It reads from the beginning: a caller that is gone must not start anything.
type prompt struct {
	*command
	line   sync.Mutex      // held while a line of JSON is printed
	over   bool            // guarded by line: what is printed next is the outcome
	ctx    context.Context //nolint:containedctx // it is the lifetime of the change, not of one call
	cancel context.CancelCauseFunc
	word   chan string // the first line of standard input; "" = it ended
	ready  chan string // the name of the change that is ready
	json   bool
	begun  bool // the change has begun: it does not wait for another one
}

// prompt returns the prompt of a command. Its ctx ends when the change must not go on.
func (c *command) prompt(ctx context.Context, cc *cli.Context, req api.Request) *prompt {
	p := &prompt{command: c, word: make(chan string, 1), ready: make(chan string, 1), json: cc.Bool("json")}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	if req.Prepare == 0 {
		return p
	}
	go func() { // ends with the process: a read cannot be interrupted
		word := console.WordOf(cc.App.Reader, cc.Duration("heartbeat"), p.answer)
		if p.word <- word; word != console.GoWord {
			p.cancel(errors.Join(errNoWord, control.ErrLeave)) // without its client, the change is aborted
		}
	}()
	return p
}

// change asks for the change and returns its outcome, also of one that has not got its word.
func (p *prompt) change(
	daemonClient *control.Client, req api.Request, event func(api.Event),
) (*api.Outcome, error) {
	defer p.end()
	began := p.Now()
	asking, asked := context.WithCancel(p.ctx)
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		p.pass(asking, daemonClient)
	}()
	out, err := daemonClient.Change(p.ctx, req, func(ev api.Event) {
		event(ev)
		p.begun = p.begun || ev.Step != api.StepWait
		if req.Detach && hasBegun(ev) {
			p.cancel(control.ErrLeave)
		}
		if p.json && req.Prepare > 0 && ev.Type != "ready" {
			p.jsonLine(ev)
		}
		if ev.Type == "ready" {
			p.say(ev.Detail)
			p.ready <- ev.Change
		}
	})
	asked()
	<-passed
	if errors.Is(err, errNoWord) {
		return p.withdrawn(daemonClient, began)
	}
	return out, err
}

// answer shows a client of --json that it is still connected: it asks before it gives the word.
func (p *prompt) answer() {
	if p.json {
		p.jsonLine(struct {
			Waiting bool `json:"waiting"`
		}{true})
	}
}

// end has all that is printed from now on belong to the outcome.
func (p *prompt) end() {
	p.line.Lock()
	defer p.line.Unlock()
	p.over = true
}

// say prints that the change is ready.
func (p *prompt) say(release string) {
	if !p.json {
		fmt.Fprintln(p.Stdout, "ready")
		return
	}
	p.jsonLine(struct {
		Ready   bool   `json:"ready"`
		Release string `json:"release"`
	}{true, release})
}

// jsonLine prints a line of JSON before the outcome of a prepared change: an event, an answer, or that
// it is ready.
func (p *prompt) jsonLine(v any) {
	p.line.Lock()
	defer p.line.Unlock()
	if p.over {
		return
	}
	if line, err := json.Marshal(v); err == nil {
		_ = terminal.WriteJSONLine(p.Stdout, line) // the outcome follows, and fails likewise
	}
}

// pass gives the change its word once it is ready.
func (p *prompt) pass(ctx context.Context, daemonClient *control.Client) {
	var word, change string
	for range 2 {
		select {
		case word = <-p.word:
		case change = <-p.ready:
		case <-ctx.Done():
			return
		}
	}
	if word != console.GoWord {
		return
	}
	var refused *api.RefusedError // then the outcome says why
	if err := daemonClient.Go(ctx, change); err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
		p.cancel(err)
	}
}

// withdrawn waits until the daemon has aborted a change that did not get its word.
func (p *prompt) withdrawn(daemonClient *control.Client, began time.Time) (*api.Outcome, error) {
	st, err := p.settled(daemonClient)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w; the outcome of the change is unknown: %w", errNoWord, err)
	case st.Changing != nil:
		return nil, fmt.Errorf("%w: the change is being aborted, in step %s", errNoWord, st.Changing.Step)
	case st.Last == nil || st.Last.Started.Before(began):
		return nil, fmt.Errorf("%w, before the change had begun; %s", errNoWord, liveText(&st))
	}
	return st.Last, nil
}
