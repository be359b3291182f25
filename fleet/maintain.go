package fleet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// Maintain shows users of all hosts a maintenance page, or ends that, all at once: each host alone can
// do and repeat it. A host that cannot be reached does not keep the others from it: it is in the result,
// and the same command does the rest later. If a host is busy, nothing begins on any.
//
// The context is the operator's. Its end before the hosts have the command leaves them alone; after it,
// it is reported and ignored.
func Maintain(ctx context.Context, plan Plan, t Transport, limits Limits, observe func(Progress)) *Result {
	plan.Kind = api.Maintenance
	mt := maintaining{newRun(ctx, plan, t, limits, observe)}
	if mt.result.Maintenance = api.MaintenanceOff; plan.Page != nil {
		mt.result.Maintenance = api.MaintenanceOn
	}
	var commanded bool
	if there := mt.leaseAll(ctx, mt.reachAll(ctx)); mt.failure == nil {
		commanded = len(there) > 0
		mt.command(ctx, there)
	}
	mt.fill()
	mt.result.Seconds = time.Since(mt.result.Started).Seconds()
	if commanded {
		mt.announce()
	}
	mt.timer.Stop()
	mt.end()
	return mt.result
}

// maintaining is a run of Maintain. It ends as other runs do.
type maintaining struct{ *run }

// errInterrupted ends a run that has changed no host.
var errInterrupted = errors.New("interrupted")

// next returns the next event. If the operator interrupts, or limit is over, the run fails.
func (mt maintaining) next(ctx context.Context, limit <-chan time.Time) (ev event, ok bool) {
	select {
	case <-ctx.Done():
		mt.fail(api.ExitAborted, errInterrupted)
	case <-limit:
		mt.fail(api.ExitUnreachable, errors.New("not all hosts answered in time"))
	case ev := <-mt.events:
		if ctx.Err() == nil {
			return ev, true
		}
		mt.fail(api.ExitAborted, errInterrupted)
	}
	mt.cancel()
	return ev, false
}

// reachAll asks all hosts for their status, and returns those that answered.
func (mt maintaining) reachAll(ctx context.Context) (there []*member) {
	mt.reach()
	for range mt.members {
		ev, ok := mt.next(ctx, nil) // each ends within its limit
		if !ok {
			return nil
		}
		m := ev.host
		if ev.err != nil {
			mt.lose(m, ev.err)
			continue
		}
		m.before = ev.value.(*api.Status)
		if m.err = busy(m.before); m.err != nil {
			mt.note(m, Refused, m.err.Error())
			continue
		}
		mt.note(m, Reached, "")
	}
	for _, m := range mt.members { // the canary host first
		switch {
		case m.err == nil:
			there = append(there, m)
		case m.state == Refused:
			mt.fail(api.ExitBusy, mt.allFit())
		}
	}
	return there
}

// lose records a host that has not got the command, because it cannot be reached.
func (mt maintaining) lose(m *member, err error) {
	m.err = err
	mt.note(m, Behind, err.Error())
}

// leaseAll takes the lease of the first host and then those of the others, so that of two runs one gets
// it and the other begins nothing. It returns the hosts of which it has the lease.
func (mt maintaining) leaseAll(ctx context.Context, there []*member) (leased []*member) {
	if len(there) == 0 || mt.failure != nil {
		return nil
	}
	mt.timer.Reset(mt.limits.Reach)
	mt.leaseOf(there[0])
	asked := there[:1]
	for ended := 0; ended < len(asked); {
		ev, ok := mt.next(ctx, mt.timer.C)
		if !ok {
			return nil
		}
		m := ev.host
		if ev.kind == leaseEnded && m.state == Leased {
			continue // its daemon has died or is upgraded: the command says how the host is
		}
		ended++
		switch {
		case ev.kind == leaseEnded && exitOf(ev.err) == api.ExitBusy:
			m.err = ev.err
			mt.note(m, Refused, ev.err.Error())
			mt.fail(api.ExitBusy, on(m, ev.err))
		case ev.kind == leaseEnded:
			mt.lose(m, cmp.Or(ev.err, errors.New("the lock has ended: its daemon was stopped or upgraded")))
		default:
			mt.note(m, Leased, "")
			leased = append(leased, m)
		}
		asked = mt.leaseMore(there, asked, len(leased) > 0)
	}
	return leased
}

// leaseMore takes the leases of all hosts once one has given its own, and else that of the next one. It
// returns the hosts that were asked.
func (mt maintaining) leaseMore(there, asked []*member, first bool) []*member {
	more := len(there)
	if !first {
		more = min(more, len(asked)+1)
	}
	if mt.failure != nil {
		return asked
	}
	for _, m := range there[len(asked):more] {
		mt.leaseOf(m)
	}
	return there[:more]
}

// command has all hosts show or end the page, and waits for them.
func (mt maintaining) command(ctx context.Context, there []*member) {
	for _, m := range there {
		mt.note(m, Turning, "")
		mt.begin(mt.limits.Maintain, func(ctx context.Context) event {
			out, err := mt.commandOn(ctx, m, m == there[0])
			return event{kind: ended, host: m, value: out, err: err}
		})
	}
	interrupt := ctx.Done()
	for n := len(there); n > 0; {
		select {
		case <-interrupt:
			interrupt = nil
			mt.say("the hosts have the command: the run continues; Ctrl-C again abandons it")
		case ev := <-mt.events:
			if ev.kind == ended {
				mt.noteCommand(ev)
				n--
			}
		}
	}
}

func (mt maintaining) noteCommand(ev event) {
	m := ev.host
	switch exit := mt.noteOutcome(m, ev); {
	case exit == api.ExitDone:
		mt.note(m, Done, "")
	case isLost(ev.err):
		mt.note(m, Unknown, m.err.Error())
	default:
		mt.note(m, Refused, m.err.Error())
		mt.exit = max(mt.exit, exit)
	}
}

// commandOn runs the command on one host. What it warns of is in the outcome. One host, the leader,
// notifies the team if this run does not live to report its end.
func (mt maintaining) commandOn(ctx context.Context, m *member, leader bool) (*api.Outcome, error) {
	var stdout, stderr bytes.Buffer
	call := Call{Args: mt.words(leader), Stdout: &stdout, Stderr: &stderr}
	if mt.Page != nil && len(mt.Page.Body) > 0 {
		call.Stdin = bytes.NewReader(mt.Page.Body)
	}
	err := mt.transport.Run(ctx, m.name, call)
	out := &api.Outcome{}
	if json.Unmarshal(stdout.Bytes(), out) != nil {
		out = nil
	}
	said := strings.TrimSpace(stderr.String())
	var exit *ExitError
	switch {
	case isLost(err):
		return nil, err
	case errors.As(err, &exit) && out == nil:
		return nil, &ExitError{exit.Code, strings.TrimPrefix(said, "superctl: ")}
	case out != nil && said != "":
		out.Warnings = append(out.Warnings, strings.TrimPrefix(said, "warning: "))
	}
	return out, err
}

// words are the command of a host.
func (mt maintaining) words(leader bool) []string {
	words := []string{"maintenance", mt.result.Maintenance, "--run", mt.Run, "--by", mt.By, "--json"}
	if !leader {
		words = append(words, "--follower")
	}
	if mt.Page == nil {
		return words
	}
	words = append(words, "--retry-after", mt.Page.RetryAfter.String())
	if len(mt.Page.Body) > 0 {
		words = append(words, "--page", "-", "--page-sha256", mt.Page.Sum())
	}
	if len(mt.Page.Allow) > 0 {
		networks := make([]string, len(mt.Page.Allow))
		for i, n := range mt.Page.Allow {
			networks[i] = n.String()
		}
		words = append(words, "--allow", strings.Join(networks, ","))
	}
	return words
}

// fill fills in the result.
func (mt maintaining) fill() {
	res, lost := mt.result, false
	warned := make(map[string][]string) // hosts, by the warning
	for _, m := range mt.members {
		res.Hosts = append(res.Hosts, mt.hostResult(m))
		lost = lost || m.state == Behind || m.state == Unknown
		if o := m.outcome; o != nil {
			res.Changed = res.Changed || o.Changed
			for _, w := range o.Warnings {
				warned[w] = append(warned[w], m.name)
			}
		}
		if m.state == Done {
			res.Result = api.Done
		}
	}
	for _, name := range mt.Without {
		res.Hosts = append(res.Hosts, HostResult{Host: name, State: Behind, Error: "left out by --without"})
	}
	for _, w := range slices.Sorted(maps.Keys(warned)) {
		res.Warnings = append(res.Warnings, list(warned[w])+": "+w)
	}
	res.Result, res.Exit = cmp.Or(res.Result, api.Aborted), mt.exit
	switch {
	case mt.failure == nil:
		if len(mt.Without) > 0 {
			res.Exit = api.ExitBehind
		}
		return
	case lost && mt.exit != api.ExitBusy && !errors.Is(mt.failure, errInterrupted):
		res.Exit = api.ExitUnreachable
	}
	res.Error = mt.failure.Error()
}

// hostResult is how a host has ended. An error of its own is the run's, too.
func (mt maintaining) hostResult(m *member) HostResult {
	h := HostResult{Host: m.name, State: m.state, Outcome: m.outcome}
	if m.before != nil {
		h.Before, h.Release = m.before.Release, m.before.Release
	}
	if m.err != nil {
		h.Error = m.err.Error()
		mt.fail(mt.exit, on(m, m.err))
	} else if m.state != Done {
		h.State = Aborted
	}
	return h
}

// announce has the team notified of what has changed, while the leases keep the hosts' own messages back.
func (mt maintaining) announce() {
	if mt.result.Result == api.Done && !mt.result.Changed {
		return
	}
	var hosts []string
	for _, m := range mt.members {
		if m.lease != nil && m.state != Unknown && m.state != Behind {
			hosts = append(hosts, m.name)
		}
	}
	if err := announce(mt.ctx, mt.transport, hosts, mt.Env, mt.result); err != nil {
		mt.result.Warnings = append(mt.result.Warnings, err.Error())
	}
}
