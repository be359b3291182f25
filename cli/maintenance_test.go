//go:build linux

package cli

import (
	"net/netip"
	"strings"
	"testing"

	"superctl/config"
)

func TestNetworksThatMatchNoClientOrAllOfThemAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, allow string
		says          []string // a part of each warning
	}{
		{"127.0.0.1:8000", "127.0.0.2/32", nil}, // from where nginx connects for these clients, as docs/maintenance.md has it
		{"127.0.0.1:8000", "203.0.113.0/24", []string{"--allow 203.0.113.0/24 matches no client"}},
		{"127.0.0.1:8000", "127.0.0.2/32 203.0.113.0/24", nil},
		{"127.0.0.1:8000", "0.0.0.0/0", []string{"--allow 0.0.0.0/0 lets all clients of nginx reach the app"}},
		{"127.0.0.1:8000", "127.0.0.0/8", []string{"--allow 127.0.0.0/8 lets all clients"}},
		{"127.0.0.1:8000", "::ffff:127.0.0.2/128", nil},
		{"127.0.0.1:8000", "2001:db8::/32", []string{"--allow 2001:db8::/32 matches no client: no listener has an IPv6 address"}},
		{"[::1]:8000", "2001:db8::/32", []string{"on loopback addresses"}},
		{"[::1]:8000", "::1/128", []string{"--allow ::1/128 lets all clients"}},
		{"0.0.0.0:8000", "203.0.113.0/24 0.0.0.0/0 ::ffff:203.0.113.0/120", nil},
		{"0.0.0.0:8000", "203.0.113.0/24 ::/0", []string{"--allow ::/0 matches no client: no listener"}},
		{":8000", "2001:db8::/32 203.0.113.0/24", nil},
	} {
		conf, err := config.Parse("/etc/superctl/shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
[listen.web]
address = "`+c.listen+`"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
`))
		if err != nil {
			t.Fatal(err)
		}
		var allow []netip.Prefix
		for text := range strings.FieldsSeq(c.allow) {
			allow = append(allow, netip.MustParsePrefix(text))
		}
		got := allowWarnings(allow, conf.Listen)
		if len(got) != len(c.says) {
			t.Errorf("%s, %s: %q", c.listen, c.allow, got)
			continue
		}
		for i, want := range c.says {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s, %s: %q, want %q", c.listen, c.allow, got[i], want)
			}
		}
	}
}
