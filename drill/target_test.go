package drill

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// machine returns a machine with an address in 192.0.2.0/24 and one in 2001:db8::/32.
func machine() Machine {
	return Machine{
		Own: func() ([]net.Addr, error) {
			return []net.Addr{
				&net.IPNet{IP: net.ParseIP("127.0.0.1"), Mask: net.CIDRMask(8, 32)},
				&net.IPNet{IP: net.ParseIP("192.0.2.7"), Mask: net.CIDRMask(24, 32)},
				&net.IPNet{IP: net.ParseIP("2001:db8::7"), Mask: net.CIDRMask(64, 128)},
			}, nil
		},
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			known := map[string][]netip.Addr{
				"shop.example.com":  {netip.MustParseAddr("192.0.2.7")},
				"other.example.com": {netip.MustParseAddr("198.51.100.1")},
				"both.example.com":  {netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("::ffff:192.0.2.7")},
				"localhost":         {netip.MustParseAddr("::1")},
			}
			if ips, ok := known[host]; ok {
				return ips, nil
			}
			return nil, errors.New("no such host")
		},
	}
}

func TestLoadGoesToThisMachineOnly(t *testing.T) {
	for _, test := range []struct{ via, address, host, refused string }{
		{via: "http://127.0.0.1", address: "127.0.0.1:80", host: "127.0.0.1"},
		{via: "http://127.9.9.9:8080/", address: "127.9.9.9:8080", host: "127.9.9.9:8080"},
		{via: "http://[::1]:8080", address: "[::1]:8080", host: "[::1]:8080"},
		{via: "http://192.0.2.7", address: "192.0.2.7:80", host: "192.0.2.7"},
		{via: "http://[2001:db8::7]", address: "[2001:db8::7]:80", host: "[2001:db8::7]"},
		{via: "http://shop.example.com", address: "192.0.2.7:80", host: "shop.example.com"},
		{via: "http://both.example.com", address: "192.0.2.7:80", host: "both.example.com"},
		{via: "http://localhost:81", address: "[::1]:81", host: "localhost:81"},

		{via: "http://192.0.2.8", refused: "192.0.2.8 is not this machine"}, // in the same network
		{via: "http://8.8.8.8", refused: "8.8.8.8 is not this machine"},
		{via: "http://0.0.0.0", refused: "0.0.0.0 is not this machine"},
		{via: "http://[2001:db8::8]", refused: "2001:db8::8 is not this machine"},
		{
			via:     "http://other.example.com",
			refused: "other.example.com is not this machine, and a drill sends no load to others",
		},
		{via: "http://nowhere.example.com", refused: "look up nowhere.example.com"},
		{via: "https://127.0.0.1", refused: "does not support TLS"},
		{via: "ftp://127.0.0.1", refused: "use http://"},
		{via: "127.0.0.1", refused: "use the URL"},
		{via: "http://127.0.0.1/shop", refused: "--path for the page"},
		{via: "http://me@127.0.0.1", refused: "use only scheme, host and port"},
	} {
		got, err := machine().Via(t.Context(), test.via)
		switch {
		case test.refused == "" &&
			(err != nil || got != Target{Network: "tcp", Address: test.address, Host: test.host, Proxy: true}):
			t.Errorf("%s: %+v, %v", test.via, got, err)
		case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
			t.Errorf("%s: %+v, %v; want %q", test.via, got, err, test.refused)
		}
	}
}

func TestAListenerIsReachedFromItsOwnMachine(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8000":          "tcp 127.0.0.1:8000",
		"0.0.0.0:8000":            "tcp 127.0.0.1:8000",
		":8000":                   "tcp 127.0.0.1:8000",
		"[::]:8000":               "tcp [::1]:8000",
		"192.0.2.7:8000":          "tcp 192.0.2.7:8000",
		"unix:/run/shop/web.sock": "unix /run/shop/web.sock",
		"198.51.100.1:80": "listen.web: 198.51.100.1 is not this machine, and a drill sends no load to " +
			"others: run it there",
		"systemd:web": "listen.web comes from systemd, and its address is not in the config: use --via, " +
			"such as --via http://127.0.0.1:8000",
	} {
		got, err := machine().Listener(t.Context(), "web", address)
		text := got.Network + " " + got.Address
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s: %s; want %s", address, text, want)
		}
	}
}
