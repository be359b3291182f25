package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Failure is the class of what became of a request. The classes exclude each other.
type Failure int

// The classes.
const (
	None        Failure = iota // it was answered as it must be
	Refused                    // no connection: nobody listens, the path is gone, the queue of a unix socket is full
	Reset                      // the connection was reset before the first byte of an answer
	Closed                     // the connection was closed before the first byte of an answer
	Cut                        // the answer had begun, and was not finished
	TimedOut                   // the time limit passed, in whatever state
	ServerError                // a whole answer, 5xx
	Wrong                      // a whole answer, but not the one that was due, or not HTTP
	Own                        // the load client's own fault (out of ports or descriptors): proves nothing, and must not happen
)

// Failures are all classes of failure, in the order in which people want to see them.
func Failures() []Failure {
	return []Failure{Refused, Reset, Closed, Cut, TimedOut, ServerError, Wrong, Own}
}

// String is the class in words.
func (f Failure) String() string {
	switch f {
	case None:
		return "ok"
	case Refused:
		return "refused"
	case Reset:
		return "reset"
	case Closed:
		return "closed without an answer"
	case Cut:
		return "cut short"
	case TimedOut:
		return "timed out"
	case ServerError:
		return "5xx"
	case Wrong:
		return "wrong answer"
	case Own:
		return "load client's own"
	}
	return "unknown"
}

// classify finds the class of an error on a connection. begun says whether a byte of the answer had come.
func classify(err error, begun bool) Failure {
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, syscall.EAGAIN):
		return TimedOut
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return Own
	case begun && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)):
		return Cut
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	}
	return Wrong
}

// classifyDial is classify for the attempt to connect. EAGAIN is how connect says that a unix socket's queue is full.
func classifyDial(err error) Failure {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
		return Refused
	}
	if f := classify(err, false); f != Wrong {
		return f
	}
	return Refused
}
