package takeover

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"superctl/socket"
	"superctl/takeover/running"
)

func TestWhatCannotBeTakenOverInPlaceIsRefused(t *testing.T) {
	at := running.Listener{Listening: socket.Listening{Addr: netip.MustParseAddrPort("127.0.0.1:8000")}}
	good := running.Server{Kind: running.Gunicorn, Name: "gunicorn", Listeners: []running.Listener{at}}
	check := func(s *running.Server) error {
		return errors.Join(Check(s), CheckAddresses(s, []string{"127.0.0.1:8000"}))
	}
	if err := check(&good); err != nil {
		t.Errorf("refused: %v", err)
	}
	for says, change := range map[string]func(*running.Server){
		"not gunicorn, uWSGI or uvicorn": func(s *running.Server) { s.Kind, s.Name = running.Unknown, "node" },
		"speaks TLS itself":              func(s *running.Server) { s.TLS = true },
		"network of its own":             func(s *running.Server) { s.OtherNetwork = true },
		"PrivateNetwork=":                func(s *running.Server) { s.Manager.PrivateNetwork = true },
		"without --reuse-port first":     func(s *running.Server) { s.ReusePort = true },
		"does not listen":                func(s *running.Server) { s.Listeners = nil },
		"abstract socket @shop": func(s *running.Server) {
			s.Listeners = []running.Listener{{Listening: socket.Listening{Path: "@shop"}}}
		},
		"and the app only on 127.0.0.1:8000": func(s *running.Server) {
			s.Listeners = append(s.Listeners, running.Listener{
				Listening: socket.Listening{Addr: netip.MustParseAddrPort("127.0.0.1:8001")},
			})
		},
	} {
		s := good
		change(&s)
		err := check(&s)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
