package nginx

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"superctl/socket"
)

func on(address string) socket.Listening {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return socket.Listening{Path: path}
	}
	return socket.Listening{Addr: netip.MustParseAddrPort(address)}
}

// move moves a configuration of one file from an address to 127.0.0.1:8001, or to another one.
func move(from, text string, change func(*Move)) (string, error) {
	m := Move{From: []socket.Listening{on(from)}, To: "127.0.0.1:8001", Own: func(ip netip.Addr) bool {
		return ip == netip.MustParseAddr("192.0.2.7")
	}}
	change(&m)
	f := &File{Path: "/etc/nginx/shop.conf", Old: text, New: text}
	err := m.Edit([]*File{f})
	return f.New, err
}

func same(*Move)       {}
func withTLS(m *Move)  { m.TLS = true }
func toSocket(m *Move) { m.To = "unix:/run/superctl/shop-web.sock" }

func TestADirectiveThatNamesTheOldServerIsMoved(t *testing.T) {
	for _, c := range []struct {
		name, from, text, want string
		change                 func(*Move)
	}{
		{
			"an address", "127.0.0.1:8000", "location / { proxy_pass http://127.0.0.1:8000; }",
			"location / { proxy_pass http://127.0.0.1:8001; }", same,
		},
		{"a path after it", "127.0.0.1:8000", "proxy_pass http://127.0.0.1:8000/shop/;", "proxy_pass http://127.0.0.1:8001/shop/;", same},
		{
			"a variable after it", "127.0.0.1:8000", "proxy_pass http://127.0.0.1:8000$request_uri;",
			"proxy_pass http://127.0.0.1:8001$request_uri;", same,
		},
		{
			"in quotes, over lines", "127.0.0.1:8000", "proxy_pass # the shop;\n  \"http://127.0.0.1:8000\" ;\n",
			"proxy_pass # the shop;\n  \"http://127.0.0.1:8001\" ;\n", same,
		},
		{"TLS", "127.0.0.1:8000", "proxy_pass https://127.0.0.1:8000;", "proxy_pass http://127.0.0.1:8001;", withTLS},
		{"TLS on its port", "127.0.0.1:443", "proxy_pass https://127.0.0.1;", "proxy_pass http://127.0.0.1:8001;", withTLS},
		{"localhost", "127.0.0.1:8000", "proxy_pass http://localhost:8000;", "proxy_pass http://127.0.0.1:8001;", same},
		{"a listener everywhere", "0.0.0.0:8000", "proxy_pass http://192.0.2.7:8000;", "proxy_pass http://127.0.0.1:8001;", same},
		{"IPv6", "[::1]:8000", "proxy_pass http://[::1]:8000/;", "proxy_pass http://127.0.0.1:8001/;", same},
		{"both families", "[::]:8000", "proxy_pass http://127.0.0.1:8000;", "proxy_pass http://127.0.0.1:8001;", same},
		{
			"a group", "127.0.0.1:8000", "upstream shop { server 127.0.0.1:8000 weight=2; server 192.0.2.9:80; }\nproxy_pass http://shop;",
			"upstream shop { server 127.0.0.1:8001 weight=2; server 192.0.2.9:80; }\nproxy_pass http://shop;", same,
		},
		{
			"a group with TLS", "127.0.0.1:8000", "proxy_pass https://shop; upstream shop { server 127.0.0.1:8000; }",
			"proxy_pass http://shop; upstream shop { server 127.0.0.1:8001; }", withTLS,
		},
		{
			"half moved", "127.0.0.1:8000", "proxy_pass https://shop; upstream shop { server 127.0.0.1:8001; }",
			"proxy_pass http://shop; upstream shop { server 127.0.0.1:8001; }", withTLS,
		},
		{"moved", "127.0.0.1:8000", "proxy_pass http://127.0.0.1:8001;", "proxy_pass http://127.0.0.1:8001;", withTLS},
		{
			"a unix socket", "unix:/run/shop.sock", "proxy_pass http://unix:/run/shop.sock:/a; upstream b { server unix:/run/shop.sock; }",
			"proxy_pass http://127.0.0.1:8001/a; upstream b { server 127.0.0.1:8001; }", same,
		},
		{
			"to a unix socket", "127.0.0.1:8000", "proxy_pass http://127.0.0.1:8000/a;",
			"proxy_pass http://unix:/run/superctl/shop-web.sock:/a;", toSocket,
		},
		{"uwsgi's protocol", "unix:/run/shop.sock", "uwsgi_pass unix:/run/shop.sock;", "uwsgi_pass 127.0.0.1:8001;", same},
		{
			"a stream", "127.0.0.1:8000", "stream { server { listen 80; proxy_pass 127.0.0.1:8000; } }",
			"stream { server { listen 80; proxy_pass 127.0.0.1:8001; } }", same,
		},
		{
			"others stay", "127.0.0.1:8000", "# 127.0.0.1:8000\nproxy_pass http://127.0.0.1:8000; proxy_pass http://127.0.0.1:80001; " +
				"proxy_pass http://192.0.2.7:8000; location ~ \"^/a{2}$\" { proxy_pass http://10.0.0.1:8000; } set $b ${a}b;",
			"# 127.0.0.1:8000\nproxy_pass http://127.0.0.1:8001; proxy_pass http://127.0.0.1:80001; " +
				"proxy_pass http://192.0.2.7:8000; location ~ \"^/a{2}$\" { proxy_pass http://10.0.0.1:8000; } set $b ${a}b;", same,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := move(c.from, c.text, c.change)
			if err != nil || got != c.want {
				t.Errorf("got\n%s (%v), want\n%s", got, err, c.want)
			}
		})
	}
}

func TestAConfigurationThatIsNotClearIsNotChanged(t *testing.T) {
	for text, why := range map[string]string{
		"set $app 127.0.0.1:8000; proxy_pass http://$app;":                                                         "set has the address",
		"map $host $app { default localhost:8000; }":                                                               "default has the address",
		"proxy_pass http://$scheme.127.0.0.1:8000;":                                                                "",
		"grpc_pass grpc://127.0.0.1:8000;":                                                                         "grpc_pass has the address",
		"fastcgi_pass shop; upstream shop { server 127.0.0.1:8000; }":                                              "fastcgi_pass to the old server",
		"uwsgi_pass 127.0.0.1:8000;":                                                                               "uwsgi_pass to a server with TLS",
		"stream { server { proxy_pass 127.0.0.1:8000; } }":                                                         "passes the TLS of its clients on",
		"upstream shop { server 127.0.0.1:8000; server 192.0.2.9:8000; }\nlocation / { proxy_pass https://shop; }": ":2: proxy_pass with https",
		"server 127.0.0.1:8000;":                                                                                   "server has the address",
		"content_by_lua_block { ngx.say('}') } proxy_pass http://x;":                                               "a block of Lua",
		"location / {": "unexpected end of the file",
		"}":            "unexpected",
	} {
		got, err := move("127.0.0.1:8000", text, withTLS)
		var unclear *UnclearError
		if why == "" {
			if !errors.Is(err, ErrNotNamed) {
				t.Errorf("%s: %v, want ErrNotNamed", text, err)
			}
			continue
		}
		if got != text || !errors.As(err, &unclear) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %s (%v), want %q", text, got, err, why)
		}
	}
}

func TestAnAddressThatNothingNamesIsAnError(t *testing.T) {
	for _, text := range []string{"", "listen 127.0.0.1:8000;", "proxy_pass http://127.0.0.1:9000;", "proxy_pass http://192.0.2.7:8000;"} {
		if _, err := move("127.0.0.1:8000", text, same); !errors.Is(err, ErrNotNamed) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzEdit(f *testing.F) {
	f.Add("upstream shop { server '127.0.0.1:8000'; } location / { proxy_pass https://shop/\\;a$x; }")
	f.Add("proxy_pass http://unix:/a:/b; # 127.0.0.1:8000")
	f.Fuzz(func(t *testing.T, text string) {
		moved, err := move("127.0.0.1:8000", text, withTLS)
		if err != nil {
			return
		}
		if again, err := move("127.0.0.1:8000", moved, withTLS); err != nil || again != moved {
			t.Errorf("moved again, %q is %q (%v)", moved, again, err)
		}
	})
}
