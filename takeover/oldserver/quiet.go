package oldserver

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/socket"
	"superctl/takeover/running"
)

// quietLimit is how long a worker is watched for a moment in which it waits for events. A worker
// that is busy all that time gets its signal nevertheless.
const quietLimit = 5 * time.Second

// signalQuietly sends a signal to a process with an event loop at a moment at which its loop waits
// for events and no request has arrived that it has not read; it reports whether there was one. Then
// the loop has run everything that was ready, and takes the signal before it begins the next
// request. So the signal does not arrive in the middle of an answer, whose head has already said that
// the connection stays open. The process is stopped while it is looked at, for a few milliseconds at most.
func (p process) signalQuietly(ctx context.Context, sig unix.Signal, listeners []running.Listener) (sure bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		ended, err := p.stop(ctx)
		if err != nil || ended {
			return ended, errors.Join(err, p.signal(unix.SIGCONT))
		}
		sure, err = p.isQuiet(listeners)
		if sure || err != nil || ctx.Err() != nil { // the last try
			return sure, errors.Join(err, p.signal(sig), p.signal(unix.SIGCONT))
		}
		if err := p.signal(unix.SIGCONT); err != nil {
			return false, err
		}
		_ = pause(ctx, wait) // at the end of ctx comes the last try
	}
}

// isQuiet reports whether a stopped process waits for events and has no unread request.
func (p process) isQuiet(listeners []running.Listener) (bool, error) {
	waits, err := waitsForEvents(p.pid)
	if err != nil || !waits {
		return false, err
	}
	unread := map[uint64]bool{}
	for _, l := range listeners {
		list, err := socket.AcceptedFrom(l.Listening)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			unread[c.Inode] = unread[c.Inode] || c.Unread
		}
	}
	open, err := proc.Descriptors(p.pid)
	return !slices.ContainsFunc(open, func(d proc.Descriptor) bool {
		inode, ok := d.Socket()
		return ok && unread[inode]
	}), err
}

// waitsForEvents reports whether the main thread of a stopped process is in epoll_wait with a
// timeout other than 0. With a timeout of 0 it has work to do, and only asks for more.
func waitsForEvents(pid int) (bool, error) {
	call, ok, err := proc.ReadSyscall(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	const timeout = 3 // the index of the argument, in milliseconds
	return ok && waits(call.Number) && int32(call.Args[timeout]) != 0, err
}
