package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// signalStop has a worker stop, at once or when what it waits for has come.
func (in *instance) signalStop() {
	if in.w == nil {
		return // begun comes back to it
	}
	in.owner.flags.update(in)
	in.owner.flags.findHook(in)
	if lf := in.mayLinger(); lf.limit > 0 {
		in.linger(lf, 0)
		return
	}
	in.sendStop()
}

// sendStop sends the stop signal to the main process only: sent to the group, it cuts requests on
// uWSGI and hypercorn.
func (in *instance) sendStop() {
	in.lingers = nil
	if err := in.w.Signal(syscall.Signal(in.proc.StopSignal)); err != nil {
		in.owner.log.Error("send stop signal", append(in.fields(), zap.Error(err))...)
	}
	in.arm(in.drainLimit(), drainElapsed)
}

// drainLimit is how long the worker may take from its stop signal on: there is nothing to wait for
// in one that never had traffic.
func (in *instance) drainLimit() time.Duration {
	if in.gen.refused() {
		return min(in.proc.Drain, deathBed)
	}
	return in.proc.Drain
}

// giveUp ends a worker that did not become ready in time, or is refused.
func (in *instance) giveUp() {
	in.reason = fmt.Sprintf("was not ready within %s", in.proc.StartTimeout)
	switch trouble := in.gen.trouble(in.lane()); {
	case in.refusal != "":
		in.reason = in.refusal
	case in.proc.Notify && !in.notified:
		in.reason += ": it has not said READY=1"
	case in.finding != "":
		in.reason += ": it " + in.finding
	case trouble != "":
		in.reason += ": " + trouble
	}
	if !in.gen.respawns() {
		in.gen.fail(in, in.String()+" "+in.reason)
		in.wanted = false
	}
	in.kill()
}

// cut ends a worker whose time to drain is over, and says what that costs.
func (in *instance) cut() {
	if in.w == nil {
		return
	}
	open, _ := in.counter(listener.connections)() // what could be counted
	in.reason = fmt.Sprintf("killed: it had not finished %s after its stop signal", in.drainLimit())
	text := fmt.Sprintf("%s of %s (generation %d) was %s", in, in.gen.plan.Release.Name, in.gen.id, in.reason)
	if len(in.proc.Listen) > 0 {
		text += fmt.Sprintf("; connections cut: %d", open)
	}
	in.gen.cost = append(in.gen.cost, text)
	in.owner.log.Warn("drain limit reached", append(in.fields(), zap.Int("connections_cut", open))...)
	in.kill()
}

// kill ends all of a worker, outside the owner: it looks through /proc until nothing is left.
func (in *instance) kill() {
	w := in.w
	if w == nil {
		return // begun comes back to it
	}
	in.owner.async(func() {
		if err := w.KillAll(); err != nil {
			in.owner.log.Error("kill worker", zap.Int("pid", w.PID()), zap.Error(err))
		}
	})
}
