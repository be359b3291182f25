package control

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// peerOf says who is at the other end: user, process, and where they have come from by ssh, when that can be seen.
func peerOf(conn net.Conn) string {
	cred, err := credentials(conn)
	if err != nil {
		return "somebody unknown"
	}
	name := strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	text := fmt.Sprintf("%s (uid %d, pid %d)", name, cred.Uid, cred.Pid)
	if from := sshClient(int(cred.Pid)); from != "" {
		text += " from " + from
	}
	return text
}

// credentials are the kernel's word on who has connected.
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
	err = raw.Control(func(fd uintptr) { cred, result = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, result)
}

// sshClient is the client's address in SSH_CONNECTION of a process's environment (ssh(1)).
func sshClient(pid int) string {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if conn, ok := strings.CutPrefix(string(v), "SSH_CONNECTION="); ok {
			from, _, _ := strings.Cut(conn, " ")
			if net.ParseIP(from) != nil {
				return from
			}
		}
	}
	return ""
}

func who(r *http.Request) string {
	name, _ := r.Context().Value(peerKey{}).(string)
	return name
}
