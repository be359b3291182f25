package supervisor

import (
	"context"

	"go.uber.org/zap"

	"superctl/supervisor/drainhook"
	"superctl/supervisor/worker"
)

// listenNotify opens the socket on which workers say READY=1 and STATUS=, and returns what ends that.
func (s *Supervisor) listenNotify() (func(), error) {
	if s.opt.Notify == "" {
		return func() {}, nil
	}
	n, err := worker.ListenNotify(s.opt.Notify, s.takeInherited(notifyName))
	if err != nil {
		return nil, err
	}
	s.notify = n
	ctx, cancel := context.WithCancel(context.Background())
	s.beside(func() {
		if err := n.Run(ctx, func(m worker.Message) { s.post(func() { s.told(m) }) }); err != nil {
			s.log.Error("read notifications", zap.Error(err))
		}
		if err := n.Close(); err != nil {
			s.log.Error("close notify socket", zap.Error(err))
		}
	})
	return cancel, nil
}

// told takes what a worker says of itself. The sender may be a child of the worker, and may be gone by now.
func (s *Supervisor) told(m worker.Message) {
	in := s.instanceOf(m.PID)
	if in == nil {
		s.log.Debug("a notification from nobody that we know", zap.Int("pid", m.PID))
		return
	}
	if m.Fields[drainhook.Field] != "" {
		s.hookLoaded(in)
	}
	if text, ok := m.Fields["STATUS"]; ok {
		in.says = text
	}
	if m.Fields["READY"] == "1" {
		in.notified = true
		if in.state == InstanceStarting && in.proc.Notify {
			s.maybeReady(in)
		}
	}
}

func (s *Supervisor) instanceOf(pid int) *instance {
	main := make(map[int]*instance)
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil {
				main[in.w.PID()] = in
			}
		}
	}
	return main[worker.Owner(pid, func(pid int) bool { return main[pid] != nil })]
}
