package control

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"superctl/api"
	"superctl/proc"
)

type peerKey struct{}

// peer identifies the process at the other end of a connection, as reported by the kernel.
type peer struct {
	who  string
	view bool // it may only look
	api.Origin
}

// viewer is the user of superctl-metrics.service and superctl-web.service. It may ask what runs and what
// has changed, and nothing else, even as a member of the group of the control socket: the services
// answer everyone who can connect to them.
const viewer = "superctl-view"

// may reports whether the peer may make a request.
func (p peer) may(r *http.Request) bool {
	return !p.view || r.Method == http.MethodGet && slices.Contains([]string{pathStatus, pathMeasures, pathHistory}, r.URL.Path)
}

// peerOf identifies the peer when it connects: later its process may have ended and its PID been
// reused.
func peerOf(conn net.Conn) peer {
	cred, err := credentials(conn)
	if err != nil {
		return peer{who: "unknown user"}
	}
	name := userName(cred.Uid)
	p := peer{who: name, view: name == viewer, Origin: api.Origin{Peer: &api.Peer{UID: cred.Uid, PID: cred.Pid}}}
	if login, ok := loginOf(int(cred.Pid), cred.Uid); ok {
		p.Peer.Login = &login
		if login != cred.Uid {
			p.who = fmt.Sprintf("%s (as %s)", userName(login), p.who)
		}
	}
	if p.Peer.Login == nil && runBySystemd(int(cred.Pid)) {
		p.who = "systemctl"
	}
	p.From = sshClient(readEnviron(int(cred.Pid)))
	return p
}

// runBySystemd reports whether a process is a command of the daemon's own unit, such as
// ExecReload=. It runs as the unit's user, and the user who ran systemctl is unknown. systemd runs
// the commands of a unit with Delegate= in the unit's group .control.
func runBySystemd(pid int) bool {
	groups, err := proc.Cgroups(pid)
	return err == nil && slices.ContainsFunc(groups, func(g proc.Cgroup) bool {
		return strings.HasSuffix(g.Path, ".service/.control")
	})
}

func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return "uid " + number
}

// loginOf returns the user who logged in, regardless of a later sudo or su (proc_pid_loginuid(5)).
// It returns false if there is no login session, if PAM does not record it, or if the daemon may
// not read it.
func loginOf(pid int, owner uint32) (uid uint32, ok bool) {
	uid, ok = proc.LoginUID(pid)
	// A peer may have connected, exited and left the connection to a child: do not mistake a
	// process that reuses the PID for it.
	if by, err := proc.UID(pid); err != nil || by != owner {
		return 0, false
	}
	return uid, ok
}

// credentials returns the peer's credentials from the kernel.
func credentials(conn net.Conn) (*unix.Ucred, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		// netutil.LimitListener wraps the connection and shows it as an embedded field only.
		return nil, fmt.Errorf("no descriptor in %T", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var result error
	err = raw.Control(func(fd uintptr) {
		cred, result = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, result)
}

// identify returns who a request comes from: the kernel's word, and with it what the client says of
// itself.
func identify(r *http.Request) (who string, origin api.Origin) {
	p, _ := r.Context().Value(peerKey{}).(peer)
	origin = p.Origin
	origin.From = cmp.Or(claimedHost(r.Header.Get(fromHeader)), p.From)
	if p.Peer != nil && p.Peer.Login == nil {
		if name := claimedUser(r.Header.Get(sudoHeader)); name != p.who {
			origin.SudoUser = name
		}
	}
	return p.who, origin
}
