package takeover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/servers"
	"superctl/socket"
	"superctl/takeover/nginx"
	"superctl/takeover/running"
)

// keptDir has the files of nginx as they were before a takeover changed them, a directory for each
// app. They are not kept in nginx's directories, which it may include as a whole.
const keptDir = "/var/lib/superctl-takeover"

// NginxMove is the other way to replace a server, if its address cannot be shared: the app has an address
// of its own, and nginx passes the requests on to that.
type NginxMove struct {
	Why     error  // the address cannot be shared
	Address string // of the app
	Nginx   *nginx.Nginx
	Kept    string // directory for the present files
	edit    nginx.Move
}

// NewNginxMove plans a move to an address of the app, or returns why there is none.
func NewNginxMove(ctx context.Context, s *running.Server, app, address string, why error) (*NginxMove, error) {
	m := &NginxMove{Why: why, Address: address, Kept: filepath.Join(keptDir, app)}
	for _, l := range s.Listeners {
		m.edit.From = append(m.edit.From, l.Listening)
	}
	m.edit.To, m.edit.TLS, m.edit.Own = reachable(address), s.TLS, isOwn
	var err error
	if m.Nginx, err = nginx.Find(ctx); err != nil {
		return nil, err
	}
	if err := m.edit.Edit(m.Nginx.Files); err != nil {
		return nil, err
	}
	for _, f := range m.Changes() {
		if err := f.Check(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// reachable returns the address at which nginx connects to a listener.
func reachable(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() {
		return address
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
}

// isOwn reports whether an address is one of this machine.
func isOwn(ip netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}

// Changes returns the files of nginx that are to be changed. There are none if an interrupted takeover
// has changed them.
func (m *NginxMove) Changes() (list []*nginx.File) {
	for _, f := range m.Nginx.Files {
		if f.Changed() {
			list = append(list, f)
		}
	}
	return list
}

// move has nginx use the app. If it cannot, nginx uses the old server as before.
func (t *takeover) move(ctx context.Context) error {
	m := t.Move
	switch st, err := t.client.Status(ctx); {
	case err != nil:
		return err
	case st.Health != api.HealthOK:
		return fmt.Errorf("%s is %s: %s", t.App, st.Health, st.Reason)
	}
	err := m.write()
	t.fault("at write")
	if err == nil {
		err = m.Nginx.Test(ctx)
	}
	if err != nil {
		return errors.Join(err, m.restore())
	}
	t.ending, err = m.Nginx.Reload(ctx)
	t.fault("at reload")
	if err != nil {
		return errors.Join(err, t.moveBack())
	}
	t.moved = true
	return nil
}

// write writes the files, and keeps the present ones.
func (m *NginxMove) write() error {
	for _, f := range m.Changes() {
		if err := f.Keep(m.Kept); err != nil {
			return err
		}
	}
	for _, f := range m.Changes() {
		if err := f.Write(); err != nil {
			return err
		}
	}
	return nil
}

// moveBack has nginx use the old server again, and waits for those of its workers that use the app.
func (t *takeover) moveBack() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	err := t.Move.restore()
	ending, also := t.Move.Nginx.Reload(ctx)
	if also != nil {
		return errors.Join(err, also)
	}
	_ = nginx.AwaitEnd(ctx, ending) // the app's own stop waits for requests, too
	return err
}

// restore writes the files as they were before this takeover or, if it was interrupted, an earlier
// one.
func (m *NginxMove) restore() (err error) {
	for _, f := range m.Nginx.Files {
		before := f.Old
		if !f.Changed() {
			kept, ok, also := f.Kept(m.Kept)
			if err = errors.Join(err, also); !ok || !m.makes(f, kept) {
				continue
			}
			before = kept
		}
		err = errors.Join(err, f.Restore(before))
	}
	return err
}

// makes reports whether the file is what the move makes of a text.
func (m *NginxMove) makes(f *nginx.File, text string) bool {
	if text == f.New {
		return false
	}
	all := make([]*nginx.File, len(m.Nginx.Files))
	for i, other := range m.Nginx.Files {
		all[i] = &nginx.File{Path: other.Path, Old: other.Old}
		if other == f {
			all[i].Old = text
		}
	}
	at := slices.Index(m.Nginx.Files, f)
	return m.edit.Edit(all) == nil && all[at].New == f.New
}

const (
	// leaveTime limits how long the old workers of nginx may need to finish.
	leaveTime = 10 * time.Minute
	// idleTime is how long the old server must have had no connection if workers of nginx remain: they
	// serve others. nginx waits as long for the head of a request (client_header_timeout).
	idleTime = time.Minute
)

// leave waits until no worker of nginx uses the old server any more.
func (t *takeover) leave(ctx context.Context) error {
	t.Say(fmt.Sprintf("waiting for %d old workers of nginx, which finish their requests", len(t.ending)))
	begun, used := time.Now(), time.Now()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		t.ending = slices.DeleteFunc(t.ending, func(w nginx.Worker) bool { return !w.Running() })
		if len(t.ending) == 0 {
			return nil
		}
		idle, err := t.idle()
		switch now := time.Now(); {
		case err != nil:
			return err
		case !idle:
			used = now
		case now.Sub(used) > idleTime:
			return nil
		}
		if time.Since(begun) > leaveTime {
			return fmt.Errorf("nginx's worker %d has not finished after %s", t.ending[0].PID, leaveTime)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// idle reports whether the old server has no connection. In another network that cannot be seen.
func (t *takeover) idle() (bool, error) {
	for _, l := range t.Server.Listeners {
		open, err := socket.AcceptedFrom(l.Listening)
		if err != nil || len(open) > 0 {
			return false, err
		}
	}
	return !t.Server.OtherNetwork, nil
}

// CheckMove returns why nginx cannot move away from a server, or nil.
func CheckMove(s *running.Server) error {
	switch {
	case s.Kind == running.Unknown && servers.ServerOf(s.Args) == "":
		return errors.New("it is no Python server that superctl knows")
	case s.Vassal:
		return errors.New("its emperor would start it again")
	case len(s.Listeners) == 0:
		return errors.New("it does not listen")
	case s.OtherNetwork && !s.Manager.PrivateNetwork:
		return errors.New("it is in a container")
	}
	first := s.Listeners[0].String()
	for _, l := range s.Listeners {
		switch {
		case s.OtherNetwork && l.Path == "":
			return fmt.Errorf("%s is in that network, and nginx is not", l)
		case strings.HasPrefix(l.Path, "@"):
			return errors.New("nginx cannot use an abstract socket")
		case l.String() != first && !s.Router: // its workers listen for the router
			return fmt.Errorf("it listens on %s and %s", first, l)
		}
	}
	return nil
}
