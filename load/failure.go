package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Failure classifies the outcome of a request. The classes are mutually exclusive.
type Failure int

// The classes of outcome.
const (
	None        Failure = iota // a correct answer
	Refused                    // no connection: no listener, no such path, or the accept queue of a unix socket is full
	Reset                      // the connection was reset before the first byte of an answer
	Closed                     // the connection was closed before the first byte of an answer
	Cut                        // the answer began but did not finish
	TimedOut                   // the time limit passed, at any stage
	ServerError                // a complete 5xx answer
	Wrong                      // a complete but wrong answer, or not HTTP
	ClientFault                // the load client ran out of ports or descriptors: proves nothing, must not happen
)

// Failures returns all classes of failure, in the order in which reports list them.
func Failures() []Failure {
	return []Failure{Refused, Reset, Closed, Cut, TimedOut, ServerError, Wrong, ClientFault}
}

// String returns the class in words.
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
	case ClientFault:
		return "load client's own"
	}
	return "unknown"
}

// classify returns the class of an error on a connection. begun reports whether a byte of the
// answer had arrived.
func classify(err error, begun bool) Failure {
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, syscall.EAGAIN):
		return TimedOut
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return ClientFault
	case begun && endsConnection(err):
		return Cut
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	}
	return Wrong
}

// endsConnection reports whether an error means that the peer closed or reset the connection.
func endsConnection(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// classifyDial classifies a failed connect. EAGAIN means that a unix socket's accept queue is full.
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
