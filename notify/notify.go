// Package notify tells the team of changes: messages to chats, mail and webhooks, and markers in monitoring.
//
// It owns the outbox, a directory of the app's state. What the supervisor tells is in it before Tell returns; Run delivers it, for
// each target in order, again and again until the target has answered, and at most for a day. Nobody waits for a delivery, and none
// can fail a change. A daemon that ends, however it does, leaves to the next one what was not delivered. Each message goes out once,
// but when the daemon dies between a target's answer and its removal from the outbox: then the target gets it again, with the same
// ID where it takes one.
//
// A secret is read when it is used, and is in no log and in no error.
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
	callTime = 20 * time.Second // for one attempt
	grace    = 3 * time.Second  // for an attempt that is under way when the daemon ends
	giveUp   = 24 * time.Hour   // after so long nobody wants to hear of it any more

	firstDelay   = 2 * time.Second // after the first failure; twice as long after each further one
	longestDelay = 5 * time.Minute
	longestAsked = time.Hour // that a service may have us wait
)

// Options are what a Sender is made of.
type Options struct {
	Dir       string // of the outbox
	App, Host string
	Version   string // of superctl

	Credentials string // directory of the unit's, $CREDENTIALS_DIRECTORY
	Log         *zap.Logger

	deliver func(context.Context, *Target, *Message) error // nil: for real
}

// Sender takes what is told, and delivers it.
type Sender struct {
	opt  Options
	log  *zap.Logger
	box  *outbox
	wake chan struct{} // of capacity 1

	mu       sync.Mutex
	targets  map[string]*Target     // guarded by mu
	troubles map[string]api.Trouble // guarded by mu: by target
}

// New makes a Sender for what is in the outbox, and what will be. It delivers nothing before Run.
func New(opt Options) *Sender {
	if opt.deliver == nil {
		opt.deliver = newCaller(opt.Version, opt.Credentials).deliver
	}
	return &Sender{
		opt: opt, log: opt.Log, box: newOutbox(opt.Dir, opt.Log), wake: make(chan struct{}, 1),
		targets: make(map[string]*Target), troubles: make(map[string]api.Trouble),
	}
}

// Try sends a target a test message, past the outbox. A marker would be one of a release that nobody has made: sent tells whether
// the target is one that can be tried.
func Try(ctx context.Context, opt Options, t Target) (sent bool, err error) {
	if serviceOf(t.Service).marks {
		return false, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, fmt.Errorf("no answer within %s", callTime))
	defer cancel()
	return true, newCaller(opt.Version, opt.Credentials).deliver(ctx, &t, testMessage(opt.App, opt.Host, t.Name, time.Now()))
}

// Configure says who is to be told from now on.
func (s *Sender) Configure(targets []Target) {
	s.mu.Lock()
	s.targets = make(map[string]*Target, len(targets))
	for i := range targets {
		s.targets[targets[i].Name] = &targets[i]
	}
	maps.DeleteFunc(s.troubles, func(name string, _ api.Trouble) bool { return s.targets[name] == nil })
	s.mu.Unlock()
	s.stir()
}

// Tell puts an event of a change into the outbox, for all targets that want it. It is the supervisor's Tell.
func (s *Sender) Tell(out api.Outcome) {
	m := newMessage(s.opt.App, s.opt.Host, out, time.Now())
	var to []string
	s.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(s.targets)) {
		if s.targets[name].wants(m) {
			to = append(to, name)
		}
	}
	s.mu.Unlock()
	if len(to) == 0 {
		return
	}
	if err := s.box.put(m, to); err != nil {
		s.log.Error("tell the team", zap.Error(err))
	}
	s.stir()
}

// Troubles is which targets cannot be reached, since when and why.
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

// stir has Run look again.
func (s *Sender) stir() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told already
	}
}

// lane is how things stand with one target. Owned by Run.
type lane struct {
	busy      bool
	failures  int       // in a row
	notBefore time.Time // of the next attempt
}

// attempt is the end of one.
type attempt struct {
	target string
	item   *item
	body   *Message // nil: it could not be read
	err    error
}

// Run delivers until ctx ends. No other daemon of the app must run any more, nor another Run.
func (s *Sender) Run(ctx context.Context) {
	s.box.load()
	lanes := make(map[string]*lane)
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
		wait, later := s.dispatch(lanes, begin)
		retry := time.NewTimer(wait)
		if !later {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-retry.C:
		case a := <-ended:
			s.settle(lanes[a.target], a)
		}
		retry.Stop()
	}
	s.finish(lanes, ended)
}

// finish waits for the attempts that are under way, but not for long: what a service has got must not be sent again.
func (s *Sender) finish(lanes map[string]*lane, ended <-chan attempt) {
	late := time.NewTimer(grace + time.Second)
	defer late.Stop()
	busy := 0
	for _, l := range lanes {
		if l.busy {
			busy++
		}
	}
	for range busy {
		select {
		case a := <-ended:
			s.settle(lanes[a.target], a)
		case <-late.C:
			return
		}
	}
}

// dispatch begins an attempt for each target that has a message and may be tried, and tells how long it is until the next may be.
func (s *Sender) dispatch(lanes map[string]*lane, begin func(*Target, *item)) (wait time.Duration, later bool) {
	for name := range s.box.waiting() {
		s.mu.Lock()
		t := s.targets[name]
		s.mu.Unlock()
		l := lanes[name]
		if l == nil {
			l = new(lane)
			lanes[name] = l
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

// forget gives up what waits for a target that is not in the config any more.
func (s *Sender) forget(name string) {
	n := 0
	for it := s.box.first(name); it != nil; it = s.box.first(name) {
		s.box.done(it, name)
		n++
	}
	s.log.Warn("messages are given up: their target is not in the config any more", zap.String("target", name), zap.Int("messages", n))
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
	call, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), callTime, fmt.Errorf("no answer within %s", callTime))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	a.err = s.opt.deliver(call, t, body)
	var f *failure
	if cause := context.Cause(call); a.err != nil && cause != nil && !errors.As(a.err, &f) {
		a.err = cause
	}
	return a
}

// settle draws the consequence of an attempt.
func (s *Sender) settle(l *lane, a attempt) {
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
			s.log.Info("the target gets its messages again", name)
		}
		*l = lane{}
		return
	}
	var f *failure
	errors.As(a.err, &f)
	first := s.trouble(a.target, a.err.Error())
	switch {
	case f != nil && f.permanent:
		s.log.Error("a message was refused and is given up", name, what, zap.Error(a.err))
		s.box.done(a.item, a.target)
		return
	case time.Since(a.body.Time) > giveUp:
		s.log.Error("a message could not be delivered for a day and is given up", name, what, zap.Error(a.err))
		s.box.done(a.item, a.target)
	case first:
		s.log.Warn("a message could not be delivered; it is tried again", name, what, zap.Error(a.err))
	}
	l.failures++
	delay := backoff(l.failures)
	if f != nil {
		delay = max(delay, min(f.after, longestAsked))
	}
	l.notBefore = time.Now().Add(delay)
}

// trouble notes why a target fails, or with "" that it does not. It tells whether that is news.
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

// backoff is how long to wait after so many failures in a row: a bit at random, so that the daemons of many hosts do not all come
// at once.
func backoff(failures int) time.Duration {
	d := min(longestDelay, firstDelay<<min(failures-1, 16))
	return d/2 + rand.N(d/2)
}
