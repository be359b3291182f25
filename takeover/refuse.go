package takeover

import (
	"fmt"
	"slices"
	"strings"

	"superctl/takeover/running"
)

// RefusedError says why a server cannot be taken over in place.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// Check returns why the server cannot be taken over in place, or nil.
func Check(s *running.Server) error {
	switch {
	case s.Kind == running.Unknown:
		return &RefusedError{fmt.Sprintf("%s is not gunicorn, uWSGI or uvicorn: how it ends without losing a request is not "+
			"known", s)}
	case s.TLS:
		return &RefusedError{fmt.Sprintf("%s speaks TLS itself, and superctl's workers do not: let nginx do that", s)}
	case s.OtherNetwork || s.Manager.PrivateNetwork:
		return &RefusedError{fmt.Sprintf("%s is in a network of its own (PrivateNetwork= or a container)", s)}
	case len(s.Listeners) == 0:
		return &RefusedError{fmt.Sprintf("%s does not listen", s)}
	}
	if why := endsBadly(s); why != "" {
		return &RefusedError{fmt.Sprintf("%s %s", s, why)}
	}
	for _, l := range s.Listeners {
		if strings.HasPrefix(l.Path, "@") {
			return &RefusedError{fmt.Sprintf("%s listens on the abstract socket %s, which cannot be handed on", s, l.Path)}
		}
	}
	return nil
}

// endsBadly returns why a server would lose requests when it ends, as a clause about it, or "".
func endsBadly(s *running.Server) string {
	switch {
	case s.ReusePort:
		return "has a listener for each worker (--reuse-port), and a worker that is started again meanwhile would get " +
			"connections of superctl's: restart it without --reuse-port first"
	case s.Vassal:
		return "is a vassal, and its emperor would start it again: give it a unit of its own first"
	case s.Router:
		return "gets its requests from uWSGI's router (--http), which drops those in progress when it ends: restart it with " +
			"--http-socket first"
	case s.NoMaster:
		return "runs without a master process, and drops the requests in progress when it ends: restart it with " +
			"--master first"
	}
	return ""
}

// CheckAddresses returns an error if the server listens on an address that is none of the app's: its
// users would lose it.
func CheckAddresses(s *running.Server, addresses []string) error {
	for _, l := range s.Listeners {
		if !slices.Contains(addresses, l.String()) {
			return &RefusedError{fmt.Sprintf("%s listens on %s, and the app only on %s", s, l, strings.Join(addresses, ", "))}
		}
	}
	return nil
}
