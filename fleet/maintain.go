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
	mt.table = maintenanceTable()
	mt.reach()
	return carryOut(ctx, mt.run, mt)
}

// maintaining is a run of Maintain. A question to a host and the command have limits of their own, so
// that only the leases can be overdue.
type maintaining struct{ *run }

// maintenanceTable returns the actions of Maintain.
func maintenanceTable() actions {
	t := make(actions)
	t.row(reaching, [kinds]action{
		answered: inMaintenance(maintaining.noteThere), leased: never, leaseEnded: never, installed: never, stepped: never,
		ready: never, present: never, ended: never, returned: never, tidied: never,
		interrupted: inMaintenance(maintaining.stopInterrupted), overdue: ignore,
	})
	t.row(leasing, [kinds]action{
		answered: never, leased: inMaintenance(maintaining.noteHeld), leaseEnded: inMaintenance(maintaining.noteNotHeld),
		installed: never, stepped: never, ready: never, present: never, ended: never, returned: never, tidied: never,
		interrupted: inMaintenance(maintaining.stopInterrupted), overdue: inMaintenance(maintaining.stopOverdue),
	})
	t.row(turning, [kinds]action{
		answered: never, leased: never, leaseEnded: ignore, installed: never, stepped: never, ready: never, present: never,
		ended: inMaintenance(maintaining.noteCommand), returned: never, tidied: never,
		interrupted: inMaintenance(maintaining.goOnInterrupted), overdue: ignore,
	})
	t.atTheEnd()
	return t
}

func inMaintenance(do func(maintaining, event)) action {
	return func(r *run, ev event) { do(maintaining{r}, ev) }
}

// errInterrupted ends a run that has changed no host.
var errInterrupted = errors.New("interrupted")

func (mt maintaining) stopInterrupted(event) { mt.stop(api.ExitAborted, errInterrupted) }

func (mt maintaining) stopOverdue(event) {
	mt.stop(api.ExitUnreachable, errors.New("not all hosts answered in time"))
}

// stop ends the run before a host has the command.
func (mt maintaining) stop(exit int, err error) {
	mt.fail(exit, err)
	mt.cancel()
	mt.phase = over
}

func (mt maintaining) noteThere(ev event) {
	m := ev.host
	if ev.err != nil {
		mt.lose(m, ev.err)
	} else {
		mt.noteReached(m, ev.value.(*api.Status))
	}
	if !mt.settle(m) {
		return
	}
	if len(mt.in(Refused)) > 0 {
		mt.fail(api.ExitBusy, mt.allFit())
		mt.phase = over
		return
	}
	mt.enter(leasing, mt.limits.Reach)
	mt.leaseMore()
}

func (mt maintaining) noteReached(m *member, st *api.Status) {
	m.before, m.err = st, busy(st)
	if m.err != nil {
		mt.note(m, Refused, m.err.Error())
		return
	}
	mt.note(m, Reached, "")
}

// in returns the hosts that are in a state, the canary host first.
func (mt maintaining) in(s State) (list []*member) {
	for _, m := range mt.members {
		if m.state == s {
			list = append(list, m)
		}
	}
	return list
}

// lose records a host that has not got the command, because it cannot be reached.
func (mt maintaining) lose(m *member, err error) {
	m.err = err
	mt.note(m, Behind, err.Error())
}

// leaseMore takes the lease of the first host and then those of the others, so that of two runs one gets
// it and the other begins nothing. A host that is lost is not the first. When all have answered, the
// hosts get the command.
func (mt maintaining) leaseMore() {
	asked, leased := mt.in(Reached), mt.in(Leased)
	if len(leased) == 0 {
		asked = asked[:min(1, len(asked))]
	}
	if mt.failure != nil { // no more are asked
		asked = slices.DeleteFunc(asked, func(m *member) bool { return m.lease == nil })
	}
	for _, m := range asked {
		if m.lease == nil {
			mt.leaseOf(m)
		}
	}
	switch {
	case len(asked) > 0:
	case mt.failure != nil || len(leased) == 0:
		mt.phase = over
	default:
		mt.command(leased)
	}
}

func (mt maintaining) noteHeld(ev event) {
	mt.note(ev.host, Leased, "")
	mt.leaseMore()
}

func (mt maintaining) noteNotHeld(ev event) {
	m := ev.host
	switch {
	case m.state == Leased:
		return // its daemon has died or is upgraded: the command says how the host is
	case exitOf(ev.err) == api.ExitBusy:
		m.err = ev.err
		mt.note(m, Refused, ev.err.Error())
		mt.fail(api.ExitBusy, on(m, ev.err))
	default:
		mt.lose(m, cmp.Or(ev.err, errLeaseEnded))
	}
	mt.leaseMore()
}

// command has hosts show or end the page, all at once. One, the leader, notifies the team if this run
// does not live to report its end.
func (mt maintaining) command(hosts []*member) {
	mt.enter(turning, mt.limits.Maintain)
	mt.told = true
	for _, m := range hosts {
		m.told = true
		mt.note(m, Turning, "")
		mt.begin(mt.limits.Maintain, func(ctx context.Context) event {
			out, err := mt.commandOn(ctx, m, m == hosts[0])
			return event{kind: ended, host: m, value: out, err: err}
		})
	}
}

func (mt maintaining) goOnInterrupted(event) {
	mt.say("the hosts have the command: the run continues; Ctrl-C again abandons it")
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
	if len(mt.in(Turning)) == 0 {
		mt.phase = over
	}
}

// commandOn runs the command on one host. What it warns of is in the outcome.
func (mt maintaining) commandOn(ctx context.Context, m *member, leader bool) (*api.Outcome, error) {
	var stdout, stderr bytes.Buffer
	call := Call{Args: mt.words(leader), Stdout: &stdout, Stderr: &stderr}
	if mt.Page != nil && len(mt.Page.Body) > 0 {
		call.Stdin = bytes.NewReader(mt.Page.Body)
	}
	err := mt.transport.Run(ctx, m.name, call)
	if failure := failureIn(stdout.Bytes(), err); failure != nil {
		return nil, failure
	}
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
	res.Warnings = mt.warnings
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
	if !mt.told || mt.result.Result == api.Done && !mt.result.Changed {
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
