package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

// act does one thing.
func (m *sim) act(a simAction) {
	var d *simDaemon
	m.locked(func() {
		m.logf("* %s", strings.TrimSpace(a.String()[8:]))
		d = m.now
	})
	last := time.Duration(a.For) * time.Millisecond
	none := a.N
	switch a.Do {
	case "switch":
		m.request(d, Request{Kind: Switch, Release: a.Release})
	case "canary":
		m.request(d, Request{
			Kind: Switch, Release: a.Release, Canary: &Canary{Steps: []int{500, 5000}, For: 2 * time.Second},
		})
	case "prepare":
		m.prepare(d, a)
	case "expect":
		m.request(d, Request{Kind: Switch, Release: a.Release, Expect: fmt.Sprint("r", a.N)})
	case "go back from":
		m.request(d, Request{Kind: Rollback, Expect: fmt.Sprint("r", a.N)})
	case "rollback", "reload":
		m.request(d, Request{Kind: Kind(a.Do)})
	case "restart", "pause", "resume":
		m.request(d, Request{Kind: Kind(a.Do), Process: a.Process})
	case "restart one":
		m.request(d, Request{Kind: Restart, Process: a.Process, Instance: &none})
	case "scale":
		m.request(d, Request{Kind: Scale, Instances: map[string]int{a.Process: a.N}})
	case "maintenance":
		m.maintenance(d, a.N)
	case "upgrade":
		m.locked(func() { m.upgrade = a.N })
		m.request(d, Request{Kind: Upgrade})
	case "hang up":
		if n := len(m.clients); n > 0 {
			m.clients[n-1](map[bool]error{true: api.ErrClientGone}[a.N == 1])
		}
	case "cron run":
		m.runByHand(d, a)
	case "attach":
		m.attach(d)
	case "cancel":
		m.cancelChange(d)
	case "leave":
		m.locked(func() { m.restartAfter = 0 })
		go d.s.Leave()
	default:
		m.locked(func() { m.fault(a, d, last) })
	}
}

// fault is an action that is none of superctl's doing; the lock is held.
func (m *sim) fault(a simAction, d *simDaemon, last time.Duration) {
	m.faultAt = time.Now()
	after := func(f func()) { time.AfterFunc(last, func() { m.locked(f) }) }
	switch a.Do {
	case "kill daemon":
		m.restartAfter = last
		d.die("killed")
	case "crash and leave":
		m.crash(a)
		after(func() {
			m.restartAfter = 0
			go m.now.s.Leave()
		})
	case "kill daemon and crash":
		m.restartAfter = last
		d.die("killed")
		m.crash(a)
	case "kill at event":
		d.dieAt, m.restartAfter = a.N, last
	case "kill at point":
		d.dieFrom, m.restartAfter = a.N, last
	case "power":
		m.power(d, last)
	case "crash", "crash all", "wedge", "leak":
		m.crash(a)
	case "disk":
		m.disk.fails = errSimDisk[a.N]
		after(func() {
			m.disk.fails = nil
			m.expectFile()
		})
	case "history":
		m.historyFails = true
		after(func() { m.historyFails = false })
	case "no room":
		m.assets.full = true
		after(func() { m.assets.full = false })
	case "port":
		m.portTaken = true
		after(func() { m.portTaken = false })
	case "store":
		m.storeFails = true
		after(func() { m.storeFails = false })
	case "gate":
		m.gatesFail = 1
	case "division":
		m.canariesFail = a.N
	case "hiccup":
		m.hiccupUntil = time.Now().Add(last)
	case "no users":
		m.quietUntil = time.Now().Add(last)
	case "lose listener":
		if g := d.firstGate(); g != nil && len(g.a.target) > 0 && g.a.kind == kindSteer {
			s := g.a.target[0]
			for number, fd := range g.mine {
				if d.fds[fd] == s {
					s.shut = true
					g.damage = Mended{Said: []string{"it was shut down"}, Lost: []int{number}}
					g.touched <- struct{}{}
				}
			}
		}
	}
}

func (m *sim) power(d *simDaemon, last time.Duration) {
	m.restartAfter, m.powerOff = last, true
	d.die("power")
	for _, other := range m.daemons {
		other.die("power")
	}
	for _, p := range slices.Clone(m.procs) {
		p.kill("power")
	}
	m.endCommands("power")
	m.assets.lose(m.hash("static files", uint64(m.events)))
	for name := range ordered(m.stored) {
		m.unstore(name)
	}
	for _, s := range slices.Clone(m.sockets) {
		if s.address.kind != kindShared {
			m.violate("after a loss of power somebody has a socket of %s", s.address.address)
		}
	}
	m.disk.lose(m.hash("power", uint64(m.events)))
	m.pids = 100
	m.mail.queue, m.mail.wait = nil, nil
	m.portTaken = false
}

// crash ends workers, or has them hang.
func (m *sim) crash(a simAction) {
	var list []*simProc
	for _, p := range m.procs {
		if p.spec.Process == a.Process && !p.ended && p.told.IsZero() {
			list = append(list, p)
		}
	}
	if a.Do != "crash all" && len(list) > 0 {
		list = list[a.N%len(list):][:1]
	}
	for i, p := range list {
		if a.Do == "leak" {
			p.leaks = true
			continue
		}
		if a.Do == "wedge" {
			p.wedged = true
			for _, s := range p.sockets {
				s.hung = true
			}
			continue
		}
		time.AfterFunc(time.Duration(i*1777)*time.Microsecond+time.Duration(p.pid), func() {
			m.locked(func() { p.die(worker.Exit{Known: true, Signal: syscall.SIGSEGV}, "crash") })
		})
	}
}

// simPrepare is how long a prepared change waits for its word.
const simPrepare = 10 * time.Second

// prepare is a client that has a change wait for its word; r0 is a rollback. Its N decides what it
// does some time after it is ready: it says the word, hangs up, or does nothing.
func (m *sim) prepare(d *simDaemon, a simAction) {
	req := Request{Kind: Switch, Release: a.Release, Prepare: simPrepare}
	if a.Release == "r0" {
		req.Kind, req.Release = Rollback, ""
	}
	client := len(m.clients)
	m.requestWith(d, req, func(ev Event) {
		if ev.Type != "ready" {
			return
		}
		m.locked(func() { m.logf("%s to %s is ready", req.Kind, ev.Detail) })
		time.AfterFunc(time.Duration(a.For)*time.Millisecond+d.moment(fmt.Sprint("word ", client)), func() {
			switch {
			case d.isDead():
			case a.N < 3:
				_ = d.s.Go(ev.Change) // it may be over
			case a.N == 3:
				m.clients[client](nil)
			}
		})
	})
}

// another is a client beside the one that has begun a change. What it says of the change's outcome,
// nil = there is none, must be said in time and be true.
func (m *sim) another(d *simDaemon, what string, ask func(context.Context) (*Outcome, error)) {
	m.others++
	mine := d.moment(fmt.Sprint(what, " ", m.others))
	m.locked(func() { m.open++ })
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Hour) // longer than any change
	go func() {
		defer cancel()
		out, err := ask(ctx)
		time.Sleep(mine)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open--
		switch {
		case d.dead || d.leaving: // its connection broke
		case err != nil && !errors.As(err, new(*RefusedError)):
			m.violate("%s: %v", what, err)
		case err != nil:
			m.logf("%s is refused: %v", what, err)
		case out != nil:
			m.logf("%s: %s %s: %s", what, out.Kind, out.Release, out.Result)
		}
	}()
}

// attach is a client that follows the change in progress.
func (m *sim) attach(d *simDaemon) {
	m.another(d, "attach", func(ctx context.Context) (*Outcome, error) {
		got, err := d.s.Attach(ctx, func(Event) {})
		if err != nil {
			return nil, err
		}
		if got.InProgress && got.Outcome == nil {
			return nil, errors.New("the change has ended without an outcome")
		}
		return got.Outcome, nil
	})
}

// cancelChange is a client that cancels the change in progress.
func (m *sim) cancelChange(d *simDaemon) {
	m.another(d, "cancel", func(ctx context.Context) (*Outcome, error) {
		got, err := d.s.Cancel(ctx, api.CancelRequest{Who: "another", Why: "it locks a table"})
		if err != nil {
			return nil, err
		}
		if out := got.Change; out != nil && got.Canceled == (out.Result == Done) {
			return nil, fmt.Errorf("it says canceled = %t of what is %s", got.Canceled, out.Result)
		}
		return got.Change, nil
	})
}

// maintenance turns a page on, with a time for Retry-After, or off.
func (m *sim) maintenance(d *simDaemon, minutes int) {
	req := Request{Kind: api.Maintenance}
	if minutes > 0 {
		req.Maintenance = &api.MaintenancePage{RetryAfter: time.Duration(minutes) * time.Minute}
	}
	m.request(d, req)
}

// request is a client of the control API.
func (m *sim) request(d *simDaemon, req Request) { m.requestWith(d, req, func(Event) {}) }

// requestWith is a client that looks at the events.
func (m *sim) requestWith(d *simDaemon, req Request, hear func(Event)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	m.clients = append(m.clients, cancel)
	client := len(m.clients)
	emit := func(ev Event) {
		hear(ev)
		m.heardGuard(d, client, ev)
	}
	req.Who = fmt.Sprint("client-", len(m.clients))
	began := time.Now()
	m.locked(func() { m.open++ })
	mine := d.moment(fmt.Sprint("client ", len(m.clients)))
	go func() {
		defer cancel(nil)
		out, err := d.s.Change(ctx, req, emit)
		time.Sleep(mine) // two may have their answer at the same instant
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open--
		if d.dead && !d.leaving {
			return // its connection broke
		}
		m.checkRefused(req, err)
		if err != nil {
			m.logf("%s is refused: %v", req.Kind, err)
			if busy := new(BusyError); !errors.As(err, &busy) && !errors.As(err, new(*RefusedError)) {
				m.violate("%s: %v", req.Kind, err)
			}
			return
		}
		m.logf(
			"%s %s: %s, changed %t, %s", out.Kind, out.Release, out.Result, out.Changed,
			strings.TrimSpace(out.Error+" "+strings.Join(out.Warnings, "; ")),
		)
		if took := time.Since(began); took > simLimit {
			m.violate("%s took %s", req.Kind, took)
		}
		m.checkOutcome(d, req, out)
	}()
}
