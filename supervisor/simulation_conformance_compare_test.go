package supervisor_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lengths are the lengths of the real queues.
func (p *pair) lengths() map[int]int {
	lengths := make(map[int]int)
	for _, gen := range p.staged {
		n, _, err := p.real.Queue(gen)
		if err != nil {
			p.fail("%v", err)
		}
		if p.options.Gate == "shared" {
			gen = 0 // they have one queue
		}
		lengths[gen] = n
	}
	return lengths
}

// reached waits until a queue is longer by one, and returns whose that is.
func (p *pair) reached(before map[int]int) (gen int) {
	p.eventually(func() error {
		for other, n := range p.lengths() {
			if n == before[other]+1 {
				gen = other
				return nil
			}
		}
		return fmt.Errorf("a connection is in no queue: %v, and before %v", p.lengths(), before)
	})
	return gen
}

// eventually waits for what the kernel does in a moment.
func (p *pair) eventually(is func() error) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.fail("%v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// compare holds the kernel against the model.
func (p *pair) compare() {
	p.t.Helper()
	p.eventually(func() error {
		p.serve()
		for _, gen := range p.staged {
			want, _, err := p.model.Gate().Queue(gen)
			if err != nil {
				return err
			}
			if have, _, err := p.real.Queue(gen); err != nil || have != want {
				return fmt.Errorf("%d connections are queued for %d (%w), in the model %d", have, gen, err, want)
			}
		}
		for id, conn := range p.clients {
			if conn == nil {
				continue
			}
			if have, want := p.fate(id, conn), p.model.Fate(id); have != want {
				return fmt.Errorf("connection %d is %s, in the model %s", id, have, want)
			}
		}
		return nil
	})
	if have, want := p.real.Live(), p.model.Gate().Live(); have != want {
		p.fail("%d is live, in the model %d", have, want)
	}
}

// serve has the real workers accept what they can.
func (p *pair) serve() {
	for _, w := range p.workers {
		for w.accepts {
			fd, _, err := unix.Accept4(w.fd, unix.SOCK_CLOEXEC)
			if err != nil {
				break // EAGAIN, or its listener was shut down
			}
			w.open = append(w.open, fd)
			var id [1]byte
			if n, err := unix.Read(fd, id[:]); n != 1 || err != nil {
				p.fail("read what a client has sent: %d bytes, %v", n, err)
			}
			w.served[int(id[0])] = true
			if _, err := unix.Write(fd, id[:]); err != nil {
				p.fail("%v", err)
			}
		}
	}
}

// fate is what has become of a connection: it was told by the worker that serves it, or by the
// kernel.
func (p *pair) fate(id int, conn net.Conn) string {
	raw, err := conn.(syscall.Conn).SyscallConn() //nolint:forcetypeassert // of a TCP or a unix connection
	if err != nil {
		p.fail("%v", err)
	}
	fate := "queued"
	if err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) //nolint:gosec // a descriptor
		switch {
		case n == 1:
			fate = "served"
		case !errors.Is(err, unix.EAGAIN):
			fate = "reset"
		}
		return true
	}); err != nil {
		p.fail("%v", err)
	}
	return fate
}

// close gives up everything.
func (p *pair) close() {
	for _, w := range p.workers {
		w.close()
	}
	for _, conn := range p.clients {
		if conn != nil {
			_ = conn.Close()
		}
	}
	for _, member := range p.real.Members() {
		if member.Gen != 0 {
			_ = p.real.Close(member.Gen)
		}
	}
}
