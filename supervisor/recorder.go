package supervisor

import (
	"time"

	"go.uber.org/zap"
)

// mostUnrecorded limits how many outcomes wait for a history that cannot be written.
const mostUnrecorded = 100

// recorder puts outcomes into the history. What could not be written is tried again: a disk that was
// full may have room. Owned by Run, but for record.
type recorder struct {
	*core
	owner   *Supervisor
	missing []Outcome // not in the history, oldest first
	next    time.Time // when they are tried again; zero = something tries them now
}

// record puts an outcome into the history, after those that it lacks, for a goroutine other than the
// owner.
func (rc *recorder) record(o Outcome) error { return rc.write(append(ask(rc.core, rc.take), o)) }

// take returns what the history lacks, for a goroutine that writes it.
func (rc *recorder) take() []Outcome {
	list := rc.missing
	rc.missing, rc.next = nil, time.Time{}
	return list
}

// write writes outcomes until one fails.
func (rc *recorder) write(list []Outcome) (err error) {
	for len(list) > 0 {
		if err = rc.opt.Record(list[0]); err != nil {
			break
		}
		list = list[1:]
	}
	rc.post(func() { rc.note(list, err) })
	return err
}

// note notes what of the outcomes that were to be written the history still lacks.
func (rc *recorder) note(list []Outcome, err error) {
	rc.missing = append(list, rc.missing...)
	if over := len(rc.missing) - mostUnrecorded; over > 0 {
		rc.log.Error("the history is incomplete: too many changes wait to be recorded", zap.Int("dropped", over))
		rc.missing = rc.missing[over:]
	}
	if err == nil && len(rc.missing) > 0 {
		return // another goroutine has just failed
	}
	rc.owner.health.report(rc.owner.journal.diskTrouble("history", err, "what changes is recorded once it can be"))
	if err != nil {
		rc.next = time.Now().Add(lastRetry)
		rc.postAfter(lastRetry, nothing)
	}
}

// check tries again, each turn, what is due.
func (rc *recorder) check() {
	if len(rc.missing) == 0 || rc.next.IsZero() || time.Now().Before(rc.next) {
		return
	}
	list := rc.take()
	rc.async(func() {
		rc.enter("")
		if rc.write(list) == nil {
			rc.log.Info("the history has what could not be recorded before", zap.Int("changes", len(list)))
		}
	})
}

// end tries for the last time to record what the history lacks, and logs what is lost, once Run takes no
// more events.
func (rc *recorder) end() {
	for _, o := range rc.take() {
		err := rc.opt.Record(o)
		if err == nil {
			continue
		}
		rc.log.Error("a change is not in the history: the daemon ends before it could be written",
			zap.String("kind", o.Kind), zap.String("release", o.Release), zap.String("outcome", string(o.Result)),
			zap.String("reason", o.Error), zap.Time("began", o.Started), zap.String("who", o.By(o.Who)), zap.Error(err))
	}
}
