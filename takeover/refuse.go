package takeover

import (
	"fmt"
	"slices"
	"strings"

	"superctl/takeover/running"
)

// RefusedError says why a server cannot be taken over in place.
type RefusedError struct {
	Why     string
	Instead string // what would make it possible; "" = nothing
}

func (e *RefusedError) Error() string {
	if e.Instead == "" {
		return e.Why
	}
	return e.Why + ": " + e.Instead
}

func refused(format string, args ...any) *RefusedError {
	return &RefusedError{Why: fmt.Sprintf(format, args...)}
}

// Check returns why the server cannot be taken over in place, or nil.
func Check(s *running.Server) error {
	switch {
	case s.Kind == running.Unknown:
		return refused("%s is not gunicorn, uWSGI or uvicorn: how it ends without losing a request is not known", s)
	case s.TLS:
		err := refused("%s speaks TLS itself, and superctl's workers do not", s)
		err.Instead = "let nginx do that"
		return err
	case s.OtherNetwork || s.Manager.PrivateNetwork:
		return refused("%s is in a network of its own (PrivateNetwork= or a container)", s)
	case len(s.Listeners) == 0:
		return refused("%s does not listen", s)
	}
	if err := endsBadly(s); err != nil {
		return err
	}
	for _, l := range s.Listeners {
		if strings.HasPrefix(l.Path, "@") {
			return refused("%s listens on the abstract socket %s, which cannot be handed on", s, l.Path)
		}
	}
	return nil
}

// endsBadly returns an error if a server would lose requests when it ends.
func endsBadly(s *running.Server) error {
	var why, instead string
	switch {
	case s.ReusePort:
		why = "has a listener for each worker (--reuse-port), and a worker that is started again meanwhile would get " +
			"connections of superctl's"
		instead = "restart it without --reuse-port first"
	case s.Vassal:
		why, instead = "is a vassal, and its emperor would start it again", "give it a unit of its own first"
	case s.Router:
		why = "gets its requests from uWSGI's router (--http), which drops those in progress when it ends"
		instead = "restart it with --http-socket first"
	case s.NoMaster:
		why = "runs without a master process, and drops the requests in progress when it ends"
		instead = "restart it with --master first"
	default:
		return nil
	}
	return &RefusedError{s.String() + " " + why, instead}
}

// CheckAddresses returns an error if the server listens on an address that is none of the app's: its
// users would lose it.
func CheckAddresses(s *running.Server, addresses []string) error {
	for _, l := range s.Listeners {
		if !slices.Contains(addresses, l.String()) {
			return refused("%s listens on %s, and the app only on %s", s, l, strings.Join(addresses, ", "))
		}
	}
	return nil
}
