// Package notify notifies the team of changes: messages to chats, mail and webhooks, and markers in
// monitoring.
//
// It owns the outbox, a directory in the app's state. An event is in the outbox before Tell
// returns. Run delivers it, for each target in order, and retries until the target has answered,
// for at most a day. Deliveries delay no change and cannot fail one. A daemon that ends, in any
// way, leaves undelivered messages to the next one.
//
// Each message is delivered once, with one exception: if the daemon dies between a target's answer
// and the message's removal from the outbox, the target gets it again, with the same ID if it takes
// one.
//
// Secrets are read when they are used. They appear in no log and in no error.
package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"superctl/api"
)

const (
	callTimeout = 20 * time.Second // for one attempt
	grace       = 3 * time.Second  // for a running attempt when the daemon ends
	giveUpAfter = 24 * time.Hour   // from then on a message is outdated

	firstDelay    = 2 * time.Second // after the first failure; it doubles with each further one
	maxDelay      = 5 * time.Minute
	maxRetryAfter = time.Hour // limit of a Retry-After
)

// Options are the parameters of a Sender.
type Options struct {
	Dir       string // of the outbox
	App, Host string
	Version   string // of superctl

	Credentials string // the unit's $CREDENTIALS_DIRECTORY
	Log         *zap.Logger

	deliver func(context.Context, *Target, *Message) error // replaces real calls in tests
}

// Sender accepts events and delivers them.
type Sender struct {
	opt  Options
	log  *zap.Logger
	box  *outbox
	wake chan struct{} // of capacity 1

	mu       sync.Mutex
	targets  map[string]*Target     // guarded by mu
	troubles map[string]api.Trouble // guarded by mu: by target
	held     map[string]bool        // guarded by mu: runs whose end is still to be announced
}

// New returns a Sender for the messages in the outbox and for new ones. It delivers nothing before
// Run.
func New(opt Options) *Sender {
	if opt.deliver == nil {
		opt.deliver = newCaller(opt.Version, opt.Credentials).deliver
	}
	return &Sender{
		opt: opt, log: opt.Log, box: newOutbox(opt.Dir, opt.Log), wake: make(chan struct{}, 1),
		targets: make(map[string]*Target), troubles: make(map[string]api.Trouble),
		held: make(map[string]bool),
	}
}

// Try sends a test message to a target, without the outbox. It reports whether the target can be
// tested: a service for markers cannot, because the marker would be for a release that does not
// exist.
func Try(ctx context.Context, opt Options, t Target) (sent bool, err error) {
	if serviceOf(t.Service).markersOnly {
		return false, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %s", callTimeout))
	defer cancel()
	return true, newCaller(opt.Version, opt.Credentials).deliver(ctx, &t,
		testMessage(opt.App, opt.Host, t.Name, time.Now()))
}

// Configure sets the targets of new messages.
func (s *Sender) Configure(targets []Target) {
	s.mu.Lock()
	s.targets = make(map[string]*Target, len(targets))
	for i := range targets {
		s.targets[targets[i].Name] = &targets[i]
	}
	maps.DeleteFunc(s.troubles, func(name string, _ api.Trouble) bool { return s.targets[name] == nil })
	s.mu.Unlock()
	s.wakeRun()
}

// Tell puts an event of a change into the outbox, for all targets that want it. It implements the
// supervisor's Tell. A follower of a run says nothing: the team gets one message for all hosts.
func (s *Sender) Tell(out api.Outcome) {
	if out.Follower {
		return
	}
	s.mu.Lock()
	run := ""
	if s.held[out.Run] && out.Result != "" {
		run = out.Run
	}
	s.mu.Unlock()
	m := newMessage(s.opt.App, s.opt.Host, out, time.Now())
	if run != "" {
		m.Text += " The run has not reported its end: other hosts may differ."
	}
	if err := s.put(m, run); err != nil {
		s.log.Error("write to the outbox", zap.Error(err))
	}
	s.wakeRun()
}

// put puts a message into the outbox; one that has a run waits for the run's end.
func (s *Sender) put(m *Message, run string) error {
	var to []string
	s.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(s.targets)) {
		if s.targets[name].wants(m) {
			to = append(to, name)
		}
	}
	s.mu.Unlock()
	if len(to) == 0 {
		return nil
	}
	return s.box.put(m, to, run)
}

// Troubles returns the targets that cannot be reached, since when and why.
func (s *Sender) Troubles() []api.Trouble {
	waiting := s.box.waiting()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]api.Trouble, 0, len(s.troubles))
	for _, name := range slices.Sorted(maps.Keys(s.troubles)) {
		t := s.troubles[name]
		if n := waiting[name]; n > 0 {
			t.Why += fmt.Sprintf("; %d waiting", n)
		}
		list = append(list, t)
	}
	return list
}

// wakeRun makes Run look for work.
func (s *Sender) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default: // it is already awake
	}
}

// targetState is the state of one target's deliveries. Owned by Run.
type targetState struct {
	busy      bool
	failures  int       // in a row
	notBefore time.Time // of the next attempt
}

// attempt is the result of an attempt.
type attempt struct {
	target string
	item   *item
	body   *Message // nil: the message could not be read
	err    error
}

// Run delivers messages until ctx ends. No other daemon of the app, and no other Run, may run at
// the same time.
func (s *Sender) Run(ctx context.Context) {
	s.box.load()
	states := make(map[string]*targetState)
	ended := make(chan attempt)
	abandoned := make(chan struct{})
	defer close(abandoned)
	begin := func(t *Target, it *item) {
		go func() {
			a := s.attempt(ctx, t, it)
			select {
			case ended <- a:
			case <-abandoned:
			}
		}()
	}
	for ctx.Err() == nil {
		wait, later := s.dispatch(states, begin)
		retry := time.NewTimer(wait)
		if !later {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-retry.C:
		case a := <-ended:
			s.conclude(states[a.target], a)
		}
		retry.Stop()
	}
	s.awaitAttempts(states, ended)
}

// awaitAttempts waits briefly for the running attempts, so that a message that a service received
// is not sent again.
func (s *Sender) awaitAttempts(states map[string]*targetState, ended <-chan attempt) {
	late := time.NewTimer(grace + time.Second)
	defer late.Stop()
	busy := 0
	for _, l := range states {
		if l.busy {
			busy++
		}
	}
	for range busy {
		select {
		case a := <-ended:
			s.conclude(states[a.target], a)
		case <-late.C:
			return
		}
	}
}

// dispatch begins an attempt for each target that has a message and may be tried. It returns how
// long to wait for the next retry, if there is one.
func (s *Sender) dispatch(states map[string]*targetState, begin func(*Target, *item)) (wait time.Duration, later bool) {
	for name := range s.box.waiting() {
		s.mu.Lock()
		t := s.targets[name]
		s.mu.Unlock()
		l := states[name]
		if l == nil {
			l = new(targetState)
			states[name] = l
		}
		if l.busy {
			continue
		}
		it := s.box.first(name)
		if it == nil {
			continue
		}
		if t == nil {
			s.forget(name)
			continue
		}
		if d := time.Until(l.notBefore); d > 0 {
			if !later || d < wait {
				wait, later = d, true
			}
			continue
		}
		l.busy = true
		begin(t, it)
	}
	return wait, later
}

// forget drops the messages of a target that is no longer in the config.
func (s *Sender) forget(name string) {
	n := 0
	for it := s.box.first(name); it != nil; it = s.box.first(name) {
		s.box.done(it, name)
		n++
	}
	s.log.Warn("messages dropped: their target is no longer in the config", zap.String("target", name),
		zap.Int("messages", n))
}

// attempt sends one message to one target.
func (s *Sender) attempt(ctx context.Context, t *Target, it *item) attempt {
	a := attempt{target: t.Name, item: it}
	body, err := s.box.read(it)
	if err != nil {
		a.err = err
		return a
	}
	a.body = body
	call, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), callTimeout,
		fmt.Errorf("no answer within %s", callTimeout))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	a.err = s.opt.deliver(call, t, body)
	var f *failure
	if cause := context.Cause(call); a.err != nil && cause != nil && !errors.As(a.err, &f) {
		a.err = cause
	}
	return a
}

// conclude handles the result of an attempt.
func (s *Sender) conclude(l *targetState, a attempt) {
	l.busy = false
	name := zap.String("target", a.target)
	if a.body == nil {
		s.box.damaged(a.item, a.err)
		return
	}
	what := zap.String("message", a.body.title())
	if a.err == nil {
		s.box.done(a.item, a.target)
		if s.trouble(a.target, "") {
			s.log.Info("target reachable again", name)
		}
		*l = targetState{}
		return
	}
	var f *failure
	errors.As(a.err, &f)
	first := s.trouble(a.target, a.err.Error())
	switch {
	case f != nil && f.permanent:
		s.log.Error("message dropped: the service refused it", name, what, zap.Error(a.err))
		s.box.done(a.item, a.target)
		return
	case time.Since(a.body.Time) > giveUpAfter:
		s.log.Error("message dropped: not delivered within a day", name, what, zap.Error(a.err))
		s.box.done(a.item, a.target)
	case first:
		s.log.Warn("message not delivered; retrying", name, what, zap.Error(a.err))
	}
	l.failures++
	delay := backoff(l.failures)
	if f != nil {
		delay = max(delay, min(f.after, maxRetryAfter))
	}
	l.notBefore = time.Now().Add(delay)
}

// trouble records why a target fails, or with "" that it works. It reports whether that is news.
func (s *Sender) trouble(target, why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, failing := s.troubles[target]
	switch {
	case why == "":
		delete(s.troubles, target)
		return failing
	case s.targets[target] == nil:
		return !failing
	case !failing:
		was = api.Trouble{Of: "notify." + target, Since: time.Now()}
	}
	was.Why = why
	s.troubles[target] = was
	return !failing
}

// backoff returns the delay after that many consecutive failures. It is partly random, so that the
// daemons of many hosts do not retry at once.
func backoff(failures int) time.Duration {
	d := min(maxDelay, firstDelay<<min(failures-1, 16))
	return d/2 + rand.N(d/2)
}
