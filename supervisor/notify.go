package supervisor

import (
	"context"

	"go.uber.org/zap"

	"superctl/supervisor/drainhook"
	"superctl/supervisor/worker"
)

// listenNotify opens the socket on which workers say READY=1 and STATUS=.
func (s *Supervisor) listenNotify() error {
	if s.opt.Notify == "" {
		return nil
	}
	n, err := worker.ListenNotify(s.opt.Notify, s.takeInherited(notifyName))
	if err != nil {
		return err
	}
	s.notify = n
	s.readNotify()
	return nil
}

// readNotify reads what workers say, until it is paused.
func (s *Supervisor) readNotify() {
	if s.notify == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.mute = func() <-chan struct{} { cancel(); return ended }
	n := s.notify
	s.beside(func() {
		defer close(ended)
		if err := n.Run(ctx, func(m worker.Message) { s.heard.add(m, s.done) }); err != nil {
			s.log.Error("read notifications", zap.Error(err))
		}
	})
}

// pauseNotify ends the reading, and takes what has been read.
func (s *Supervisor) pauseNotify() {
	if s.mute == nil {
		return
	}
	for ended := s.mute(); ; {
		select {
		case <-s.heard.news:
			s.listen()
		case <-ended:
			s.mute = nil
			s.listen()
			return
		}
	}
}

// MendNotify makes the notify socket again when its path does not lead to it any more, and reports
// whether it has. Workers that have connected to the one before it are not heard any more; those
// that speak by the path are.
func (s *Supervisor) MendNotify() (mended bool, err error) {
	if stopped := s.do(func() { mended, err = s.mendNotify() }); stopped != nil {
		return false, nil // a daemon that ends needs no socket
	}
	return mended, err
}

func (s *Supervisor) mendNotify() (mended bool, err error) {
	if s.notify == nil || s.mute == nil || s.notify.Reachable() {
		return false, nil
	}
	n, err := worker.ListenNotify(s.opt.Notify, -1)
	if err != nil {
		return false, err
	}
	s.pauseNotify()
	before := s.notify
	s.notify = n
	s.readNotify()
	s.storeAgain(notifyName)
	return true, before.Abandon(s.told)
}

// StoreAgain has the store keep the descriptor of that name in Options.Extra as it is now, in the
// place of the one before it.
func (s *Supervisor) StoreAgain(name string) {
	_ = s.do(func() { s.storeAgain(name) }) // a daemon that ends has left its descriptors already
}

func (s *Supervisor) storeAgain(name string) {
	if _, ok := s.stored[name]; ok {
		s.stored[name] = "" // no identity: the next turn puts the new one in its place
		s.dirty = true
	}
}

// closeNotify ends the reading and removes the socket.
func (s *Supervisor) closeNotify() {
	s.pauseNotify()
	if s.notify == nil {
		return
	}
	if err := s.notify.Close(); err != nil {
		s.log.Error("close notify socket", zap.Error(err))
	}
}

// listen takes what workers have said.
func (s *Supervisor) listen() {
	for _, m := range s.heard.take() {
		s.told(m)
	}
}

// told takes what a worker says of itself. The sender may be a child of the worker, and may be gone
// by now. A worker may speak before the owner knows that it runs: what nobody is known to have said
// is kept while a worker is being started.
func (s *Supervisor) told(m worker.Message) {
	in := s.instanceOf(m.Lineage)
	if in == nil {
		s.log.Debug("a notification from no known worker", zap.Int("pid", m.PID))
		if s.starting() && len(s.unclaimed) < mostUnheard {
			s.unclaimed = append(s.unclaimed, m)
		}
		return
	}
	if m.Fields[drainhook.Field] != "" {
		s.hookLoaded(in)
	}
	if text, ok := m.Fields["STATUS"]; ok {
		in.says = in.gen.plan.redactor.Text(text)
	}
	if m.Fields["READY"] == "1" {
		s.dirty = s.dirty || !in.notified
		in.notified = true
		if in.state == InstanceStarting && in.proc.Notify {
			s.maybeReady(in)
		}
	}
}

// claim takes what a worker that is known now has said before.
func (s *Supervisor) claim() {
	said := s.unclaimed
	s.unclaimed = nil
	for _, m := range said {
		s.told(m) // which keeps what still is nobody's
	}
}

func (s *Supervisor) instanceOf(lineage []int) *instance {
	for _, pid := range lineage {
		for _, g := range s.generations {
			for _, in := range g.instances {
				if in.w != nil && in.w.PID() == pid {
					return in
				}
			}
		}
	}
	return nil
}
