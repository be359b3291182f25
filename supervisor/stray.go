package supervisor

import (
	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// strayHunt stops processes that have left their worker.
type strayHunt struct {
	*core
	owner          *Supervisor
	running, again bool // a look is taken, and another is to follow
}

// hunt ends what workers that have ended left behind where the hunt for a worker's own
// processes does not find it. One look serves all workers that end while another one is taken.
func (sh *strayHunt) hunt() {
	if sh.running {
		sh.again = true
		return
	}
	sh.running = true
	running := sh.owner.runningWorkers()
	sh.async(func() {
		for again := true; again; {
			if err := sh.os.strays(running); err != nil {
				sh.log.Error("stop processes that have left their worker", zap.Error(err))
			}
			again = false
			_ = sh.do(func() { // when the daemon leaves, the next one looks
				again, running = sh.again, sh.owner.runningWorkers()
				sh.running, sh.again = again, false
			})
		}
	})
}

// runningWorkers is all workers that run.
func (s *Supervisor) runningWorkers() (list []worker.Running) {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil {
				list = append(list, worker.Running{Start: in.w.StartTime(), Cgroup: in.w.Cgroup()})
			}
		}
	}
	return list
}
