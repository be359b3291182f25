package supervisor

import "errors"

// saving has a change wait until the next daemon would know what it has done.
type saving struct{ *change }

func (c *change) save() saving { return saving{c} }

// now waits until what the change has done is in the state file, and then tells that it has begun. A
// change that has had its cutover waits for a file that cannot be written; another one is aborted.
func (sv saving) now() error {
	err := sv.owner.journal.durable()
	if err != nil && sv.committed && !sv.goesOnUnsaved() {
		err = sv.owner.journal.mended(sv.ctx, err)
	}
	if err == nil {
		sv.announce().begin()
	}
	return err
}

// before waits until what a step needs is in the state file, and returns why the step must not begin.
func (sv saving) before(step string) error {
	if !sv.committed && sv.from != nil && !sv.from.held && savesItself(step) {
		return nil
	}
	switch err := sv.now(); {
	case errors.Is(err, ErrStopping):
		return err
	case err != nil && !sv.goesOnUnsaved() && !goesBack(step):
		return &stepError{step, err}
	}
	return nil
}

// cutover waits until a cutover is in the state file. One that is not is only told: the new
// generation serves.
func (sv saving) cutover() {
	if err := sv.owner.journal.durable(); err != nil && !errors.Is(err, ErrStopping) {
		sv.warn("the cutover is not durable: %v", err)
	}
}

// savesItself reports whether a step before the cutover needs nothing in the state file when it
// begins: it only reads or waits, or it saves the generation that it makes before it starts a
// worker (stageWorkers). Each write costs a switch the time of two fsyncs.
func savesItself(step string) bool {
	switch step {
	case stepResolve, stepPreflight, stepBoot, stepProve:
		return true
	}
	return false
}

// goesOnUnsaved reports whether a change goes on without its state file: a start does, because a
// file that cannot be written must not keep a site down. The failure is in the status. Nothing is
// down while the old generation is kept, so its end waits for the file: without it the next daemon
// would revert a change whose end has been told.
func (sv saving) goesOnUnsaved() bool { return sv.req.Kind == start && sv.stepName != stepRetire }

// goesBack reports whether a step leads back to what the state file says already, so that it is not
// held up by a file that cannot be written.
func goesBack(step string) bool {
	switch step {
	case stepRevert, stepComeBack, stepWithdraw, stepOnAbort, stepOnRevert:
		return true
	}
	return false
}
