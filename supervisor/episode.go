package supervisor

import (
	"time"

	"go.uber.org/zap"
)

const (
	// a trouble lasts for so long before it is told: a worker that is replaced at once is none
	troubleAfter = 10 * time.Second
	// and the app is well for so long before the trouble is over: a crash loop is one trouble
	soundAfter = time.Minute
)

// episode is one time of trouble, from the first that went wrong until all has been well for
// soundFor. However often things change in it, at most three messages tell of it: degraded, down,
// and ok again. Owned by Run.
type episode struct {
	began time.Time                // zero = all is well
	seen  time.Time                // when the health was looked at last
	last  string                   // what it was then
	spent map[string]time.Duration // how long it was not ok in the episode, and how long down of that
	well  time.Time                // since when it is ok again
	told  string                   // worst that was told, "" for nothing
	timer *time.Timer
	due   time.Time // of the timer
}

// follow tells of the health of the app, each turn. A machine on which nothing should be live
// has no trouble.
func (ah *appHealth) follow() {
	e := &ah.episode
	if ah.opt.Tell == nil || ah.owner.stopping || ah.owner.leaving || !ah.owner.startup.isDecided() ||
		ah.owner.live == nil && ah.owner.startup.failure == "" {
		return
	}
	health, reason := ah.trouble()
	now := time.Now()
	if health == HealthOK {
		ah.endEpisode(e, now)
		e.seen, e.last = now, health
		return
	}
	if e.began.IsZero() {
		*e = episode{began: now, seen: now, told: e.told}
	}
	e.add(now)
	e.seen, e.last, e.well = now, health, time.Time{}
	if e.told == HealthDown || e.told == health {
		return
	}
	if left := troubleAfter - e.spent[health]; left > 0 {
		ah.lookAgainAt(e, now.Add(left))
		return
	}
	e.told = health
	ah.announce(health, reason, 0)
}

// add counts the time since the last look.
func (e *episode) add(now time.Time) {
	if e.last == "" || e.last == HealthOK {
		return
	}
	if e.spent == nil {
		e.spent = make(map[string]time.Duration)
	}
	e.spent[HealthDegraded] += now.Sub(e.seen)
	if e.last == HealthDown {
		e.spent[HealthDown] += now.Sub(e.seen)
	}
}

// endEpisode ends an episode when all has been well for long enough.
func (ah *appHealth) endEpisode(e *episode, now time.Time) {
	if e.began.IsZero() {
		return
	}
	e.add(now)
	if e.well.IsZero() {
		e.well = now
	}
	if due := e.well.Add(soundAfter); now.Before(due) {
		ah.lookAgainAt(e, due)
		return
	}
	if e.told != "" {
		ah.announce(HealthOK, "", e.well.Sub(e.began))
	}
	*e = episode{}
}

// lookAgainAt has a turn at that time.
func (ah *appHealth) lookAgainAt(e *episode, due time.Time) {
	if e.due.Equal(due) {
		return
	}
	if e.timer != nil {
		e.timer.Stop()
	}
	e.due = due
	e.timer = ah.postAfter(time.Until(due), nothing)
}

// announce tells of the health of the app. It does not run in the owner, because it waits for a disk.
func (ah *appHealth) announce(health, reason string, lasted time.Duration) {
	ah.owner.journal.dirty = true
	out := Outcome{
		Kind: HealthKind, Result: Result(health), Error: reason, Seconds: lasted.Seconds(), Who: "the daemon",
		Started: time.Now(), Steps: []Step{},
	}
	if r := ah.owner.release; r != nil {
		out.Release, out.Commit = r.Name, r.Commit
	}
	if ah.owner.live != nil {
		out.Generation = ah.owner.live.id
	}
	ah.log.Info("the health of the app is reported", zap.String("health", health), zap.String("reason", reason))
	ah.async(func() { ah.opt.Tell(out) })
}

// isDecided reports whether the start of this daemon is.
func (su *startup) isDecided() bool {
	select {
	case <-su.started:
		return true
	default:
		return false
	}
}
