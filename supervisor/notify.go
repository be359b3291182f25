package supervisor

import (
	"context"

	"go.uber.org/zap"

	"superctl/supervisor/drainhook"
	"superctl/supervisor/worker"
)

// mailbox takes what workers say on the notify socket: READY=1 and STATUS=.
type mailbox struct {
	*core
	owner       *Supervisor
	socket      notifier // nil without Options.Notify
	inbound     *messageQueue
	stopReading func() <-chan struct{} // ends the reading of the socket; nil = it is not read
	unclaimed   []worker.Message       // from processes that are not known yet, while a worker is being started
}

// open opens the socket on which workers say READY=1 and STATUS=.
func (mb *mailbox) open() error {
	if mb.opt.Notify == "" {
		return nil
	}
	n, err := worker.ListenNotify(mb.opt.Notify, mb.takeInherited(notifyName))
	if err != nil {
		return err
	}
	mb.socket = n
	mb.read()
	return nil
}

// read reads what workers say, until it is paused.
func (mb *mailbox) read() {
	if mb.socket == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	mb.stopReading = func() <-chan struct{} { cancel(); return ended }
	n := mb.socket
	mb.async(func() {
		defer close(ended)
		if err := n.Run(ctx, func(m worker.Message) { mb.inbound.add(m, mb.done) }); err != nil {
			mb.log.Error("read notifications", zap.Error(err))
		}
	})
}

// pause ends the reading, and takes what has been read.
func (mb *mailbox) pause() {
	if mb.stopReading == nil {
		return
	}
	for ended := mb.stopReading(); ; {
		select {
		case <-mb.inbound.news:
			mb.receive()
		case <-ended:
			mb.stopReading = nil
			mb.receive()
			return
		}
	}
}

// MendNotify makes the notify socket again when its path does not lead to it any more, and reports
// whether it has. Workers that have connected to the one before it are not heard any more; those
// that speak by the path are.
func (s *Supervisor) MendNotify() (mended bool, err error) {
	if stopped := s.do(func() { mended, err = s.mailbox.mend() }); stopped != nil {
		return false, nil // a daemon that ends needs no socket
	}
	return mended, err
}

func (mb *mailbox) mend() (mended bool, err error) {
	if mb.socket == nil || mb.stopReading == nil || mb.socket.Reachable() {
		return false, nil
	}
	n, err := worker.ListenNotify(mb.opt.Notify, -1)
	if err != nil {
		return false, err
	}
	mb.pause()
	before := mb.socket
	mb.socket = n
	mb.read()
	mb.owner.store.putAgain(notifyName)
	return true, before.Abandon(mb.deliver)
}

// StoreAgain has the store keep the descriptor of that name in Options.Extra as it is now, in the
// place of the one before it.
func (s *Supervisor) StoreAgain(name string) {
	_ = s.do(func() { s.store.putAgain(name) }) // a daemon that ends has left its descriptors already
}

func (ds *descriptorStore) putAgain(name string) {
	if _, ok := ds.held[name]; ok {
		ds.held[name] = "" // no identity: the next turn puts the new one in its place
		ds.owner.journal.dirty = true
	}
}

// close ends the reading and removes the socket.
func (mb *mailbox) close() {
	mb.pause()
	if mb.socket == nil {
		return
	}
	if err := mb.socket.Close(); err != nil {
		mb.log.Error("close notify socket", zap.Error(err))
	}
}

// receive takes what workers have said.
func (mb *mailbox) receive() {
	for _, m := range mb.inbound.take() {
		mb.deliver(m)
	}
}

// deliver takes what a worker says of itself. The sender may be a child of the worker, and may be
// gone by now. A worker may speak before the owner knows that it runs: what no known worker has
// said is kept while a worker is being started.
func (mb *mailbox) deliver(m worker.Message) {
	in := mb.instanceOf(m.Lineage)
	if in == nil {
		mb.log.Debug("a notification from no known worker", zap.Int("pid", m.PID))
		if mb.owner.starting() && len(mb.unclaimed) < mostMessages {
			mb.unclaimed = append(mb.unclaimed, m)
		}
		return
	}
	if m.Fields[drainhook.Field] != "" {
		mb.owner.flags.hookLoaded(in)
	}
	if text, ok := m.Fields["STATUS"]; ok {
		in.says = in.gen.plan.redactor.Text(text)
	}
	if m.Fields["READY"] == "1" {
		mb.owner.journal.dirty = mb.owner.journal.dirty || !in.notified
		in.notified = true
		if in.state == InstanceStarting && in.proc.Notify {
			in.maybeReady()
		}
	}
}

// deliverUnclaimed takes what a worker that is known now has said before.
func (mb *mailbox) deliverUnclaimed() {
	said := mb.unclaimed
	mb.unclaimed = nil
	for _, m := range said {
		mb.deliver(m) // which keeps messages of processes that are still unknown
	}
}

func (mb *mailbox) instanceOf(lineage []int) *instance {
	for _, pid := range lineage {
		for _, g := range mb.owner.generations {
			for _, in := range g.instances {
				if in.w != nil && in.w.PID() == pid {
					return in
				}
			}
		}
	}
	return nil
}
