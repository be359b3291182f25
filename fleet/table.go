package fleet

import "fmt"

// phase is where a run is.
type phase int

const (
	reaching   phase = iota // all hosts are asked for their status
	leasing                 // the canary host's lease, then those of the others
	installing              // the bundle, or only the list of releases
	preparing               // the canary host, then the others
	confirming              // hosts that are ready are asked whether they are still there
	turning                 // some hosts have the word
	baking                  // the canary host is watched before the next get the word
	returning               // hosts that have turned are taken back
	aborting                // no host has the word; those that prepare are told to abort
	tidying                 // old releases are removed
	over
	phases
)

// kind is what has happened.
type kind int

const (
	answered    kind = iota // a host's status, or why there is none
	leased                  // a host's lease is ours
	leaseEnded              // it was refused or lost
	installed               // the release is on a host, or why not
	stepped                 // a host's change has begun or ended a step
	ready                   // a host waits for the word
	present                 // a host that prepares or is ready has answered that it is there
	ended                   // a host's change has ended, or its connection
	returned                // a host was taken back, or why not
	tidied                  // a host has removed old releases
	interrupted             // the operator has pressed Ctrl-C
	overdue                 // the time of the phase is over
	kinds
)

// event is something that happened to a host or to the run. It is made by a goroutine that the
// owner started, and handled by the owner.
type event struct {
	kind  kind
	host  *member // nil for interrupted and overdue
	value any     // by kind
	err   error
}

type cell struct {
	phase phase
	kind  kind
}

type action func(*run, event)

// actions is what each event means in each phase that a run passes: every pair has an entry.
type actions map[cell]action

// table returns the actions of Do.
func table() actions {
	t := make(actions)
	t.untilTheWord()
	t.fromTheWord()
	return t
}

func (t actions) row(p phase, list [kinds]action) {
	for k, do := range list {
		t[cell{p, kind(k)}] = do
	}
}

// untilTheWord adds the phases in which no host has the word.
func (t actions) untilTheWord() {
	t.row(reaching, [kinds]action{
		answered: (*run).noteStatus, leased: never, leaseEnded: never, installed: never, stepped: never, ready: never,
		present: never, ended: never, returned: never, tidied: never, interrupted: (*run).abortInterrupted,
		overdue: (*run).abortOverdue,
	})
	t.row(leasing, [kinds]action{
		answered: never, leased: (*run).noteLease, leaseEnded: (*run).refuseLease, installed: never, stepped: never,
		ready: never, present: never, ended: never, returned: never, tidied: never,
		interrupted: (*run).abortInterrupted, overdue: (*run).abortOverdue,
	})
	t.row(installing, [kinds]action{
		answered: never, leased: never, leaseEnded: (*run).refuseLease, installed: (*run).noteInstalled,
		stepped: never, ready: never, present: never, ended: never, returned: never, tidied: never,
		interrupted: (*run).abortInterrupted, overdue: (*run).abortOverdue,
	})
	t.row(preparing, [kinds]action{
		answered: never, leased: never, leaseEnded: (*run).refuseLease, installed: never, stepped: (*run).noteStep,
		ready: (*run).noteReady, present: ignore, ended: (*run).refusePrepared, returned: never, tidied: never,
		interrupted: (*run).abortInterrupted, overdue: (*run).abortOverdue,
	})
	t.row(confirming, [kinds]action{
		answered: ignore, leased: never, leaseEnded: (*run).noteLeaseEnd, installed: never, stepped: (*run).noteStep,
		ready: never, present: (*run).notePresent, ended: (*run).noteAbsent, returned: never, tidied: never,
		interrupted: (*run).interruptConfirming, overdue: (*run).loseAbsent,
	})
	t.row(aborting, [kinds]action{
		answered: ignore, leased: ignore, leaseEnded: (*run).noteAborted, installed: (*run).noteAborted,
		stepped: ignore, ready: ignore, present: ignore, ended: (*run).noteAborted, returned: never, tidied: never,
		interrupted: (*run).giveUpAborting, overdue: (*run).giveUpAborting,
	})
}

// fromTheWord adds the others. From the first word on a prepared change holds its host, and the
// lease is not needed.
func (t actions) fromTheWord() {
	t.row(turning, [kinds]action{
		answered: (*run).noteAnswer, leased: never, leaseEnded: ignore, installed: never, stepped: (*run).noteStep,
		ready: never, present: ignore, ended: (*run).noteEnd, returned: never, tidied: never,
		interrupted: (*run).warnInterrupted, overdue: (*run).loseTold,
	})
	t.row(baking, [kinds]action{
		answered: (*run).noteBaked, leased: never, leaseEnded: ignore, installed: never, stepped: ignore,
		ready: never, present: ignore, ended: (*run).noteEnd, returned: never, tidied: never,
		interrupted: (*run).warnInterrupted, overdue: (*run).askBaked,
	})
	t.row(returning, [kinds]action{
		answered: ignore, leased: never, leaseEnded: ignore, installed: never, stepped: ignore, ready: ignore,
		present: ignore, ended: (*run).noteEndReturning, returned: (*run).noteReturned, tidied: never,
		interrupted: (*run).warnInterrupted, overdue: (*run).giveUpReturning,
	})
	t.row(tidying, [kinds]action{
		answered: ignore, leased: never, leaseEnded: ignore, installed: never, stepped: ignore, ready: never,
		present: ignore, ended: ignore, returned: never, tidied: (*run).noteTidied, interrupted: (*run).finish,
		overdue: (*run).finish,
	})
	t.atTheEnd()
}

// atTheEnd adds the phase of a run that is over.
func (t actions) atTheEnd() {
	t.row(over, [kinds]action{
		answered: ignore, leased: ignore, leaseEnded: ignore, installed: ignore, stepped: ignore, ready: ignore,
		present: ignore, ended: ignore, returned: ignore, tidied: ignore, interrupted: ignore, overdue: ignore,
	})
}

// ignore is for news that changes nothing any more.
func ignore(*run, event) {}

// never is for news that the run has not asked for in this phase: an error of this package, which
// must not end a run halfway.
func never(r *run, ev event) {
	r.warnings = append(r.warnings, fmt.Sprintf("unexpected event %d in phase %d: please report this", ev.kind, r.phase))
}
