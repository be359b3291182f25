package supervisor

import (
	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// endStrays ends what workers that have ended left behind where the hunt for a worker's own
// processes does not find it. One look serves all workers that end while another one is taken.
func (s *Supervisor) endStrays() {
	if s.straying {
		s.strayed = true
		return
	}
	s.straying = true
	running := s.runningWorkers()
	s.beside(func() {
		for again := true; again; {
			if err := s.os.strays(running); err != nil {
				s.log.Error("stop processes that have left their worker", zap.Error(err))
			}
			again = false
			_ = s.do(func() { // when the daemon leaves, the next one looks
				again, running = s.strayed, s.runningWorkers()
				s.straying, s.strayed = again, false
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
