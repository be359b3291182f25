package supervisor

import (
	"context"
	"time"

	"superctl/supervisor/worker"
)

// mailRoom is how many messages the kernel keeps for a notify socket (net.unix.max_dgram_qlen).
const mailRoom = 10

// simMail is the notify socket: what workers have said and no daemon has read. It outlives a
// daemon, in the descriptor store.
type simMail struct {
	queue []*simProc    // who has said READY=1
	wait  []*simProc    // who waits for room to say it
	news  chan struct{} // is closed when there is something
}

// sayReady is what a worker does when it has booted. It waits while the queue is full.
func (m *sim) sayReady(p *simProc) {
	if p.ended || !m.sc.Site.Ready || !m.shows(&p.spec) {
		return
	}
	if len(m.mail.queue) == mailRoom {
		m.mail.wait = append(m.mail.wait, p)
		return
	}
	m.mail.queue = append(m.mail.queue, p)
	close(m.mail.news)
	m.mail.news = make(chan struct{})
}

// read takes the oldest message.
func (b *simMail) read() (p *simProc) {
	if len(b.queue) == 0 {
		return nil
	}
	p, b.queue = b.queue[0], b.queue[1:]
	if len(b.wait) > 0 {
		b.queue, b.wait = append(b.queue, b.wait[0]), b.wait[1:]
	}
	return p
}

// simNotify is the notify socket as one daemon has it.
type simNotify struct{ d *simDaemon }

func (n simNotify) Run(ctx context.Context, handle func(worker.Message)) error {
	for {
		if !n.d.edge("notify") {
			return nil
		}
		var said *simProc
		var news chan struct{}
		n.d.m.locked(func() {
			if ctx.Err() == nil && !n.d.dead {
				said, news = n.d.m.mail.read(), n.d.m.mail.news
			}
			if said != nil {
				n.d.m.logf("%s is heard to be ready", said)
				said.heardBy, said.heardAt = n.d, time.Now()
			}
		})
		if said != nil {
			// It finds out who has spoken, in /proc.
			time.Sleep(time.Duration(n.d.m.hash("lineage", uint64(said.pid))%20_000_000) + n.d.moment("lineage"))
			handle(worker.Message{PID: said.pid, Lineage: []int{said.pid}, Fields: map[string]string{"READY": "1"}})
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		case <-n.d.died:
			return nil
		}
	}
}

func (n simNotify) Descriptor(f func(int) error) error { return f(n.d.open("the notify socket")) }
func (simNotify) Reachable() bool                      { return true }
func (simNotify) Abandon(func(worker.Message)) error   { return nil }
func (simNotify) Close() error                         { return nil }

// checkHeard holds that a daemon which has heard of a worker that it is ready does not forget it,
// and that the next one does not, unless this one was killed.
func (m *sim) checkHeard(s *Supervisor) {
	for _, g := range ordered(s.generations) {
		for _, in := range g.instances {
			if in.w == nil || in.notified || in.state != InstanceStarting {
				continue
			}
			for _, p := range m.procs {
				if p.pid == in.w.PID() && !p.ended && p.heardBy != nil && (p.heardBy.s == s || p.heardBy.left) &&
					time.Since(p.heardAt) > 5*time.Second {
					m.violate("%s has said that it is ready, and is not heard", p)
				}
			}
		}
	}
}
