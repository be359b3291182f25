package socket

import (
	"strings"
	"testing"
)

func TestAddressesAreParsed(t *testing.T) {
	for _, tt := range []struct {
		text, network, means string
	}{
		{"127.0.0.1:8000", "tcp", "127.0.0.1:8000"},
		{"0.0.0.0:80", "tcp", "0.0.0.0:80"},
		{"[::]:8000", "tcp", "[::]:8000"},
		{"[::1]:65535", "tcp", "[::1]:65535"},
		{"[fe80::1%eth0]:8000", "tcp", "[fe80::1%eth0]:8000"},
		{"[::ffff:10.0.0.1]:8000", "tcp", "10.0.0.1:8000"},
		{":8000", "tcp", "[::]:8000"},
		{"localhost:8000", "tcp", "127.0.0.1:8000"},
		{"unix:/run/shop/web.sock", "unix", "/run/shop/web.sock"},
		{"unix:/" + strings.Repeat("x", 96), "unix", "/" + strings.Repeat("x", 96)},
		{"systemd:web", "systemd", "web"},
		{"systemd:superctl@shop.socket", "systemd", "superctl@shop.socket"},
		{"systemd:web:127.0.0.1:8000", "systemd", "web 127.0.0.1:8000"},
		{"systemd:web:[::1]:8000", "systemd", "web [::1]:8000"},
		{"systemd:web:unix:/run/web.sock", "systemd", "web /run/web.sock"},
	} {
		a, err := ParseAddress(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		means := strings.TrimSpace(a.name + " " + a.path)
		if a.tcp.IsValid() {
			means = strings.TrimSpace(a.name + " " + a.tcp.String())
		}
		if a.Network() != tt.network || means != tt.means || a.String() != tt.text {
			t.Errorf("%s: network %s, means %q, String %q; want %s, %q", tt.text, a.Network(), means, a.String(),
				tt.network, tt.means)
		}
	}
}

func TestAnInvalidAddressSaysWhatToWriteInstead(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "it is empty: write IP:PORT",
		"8000":                                 "write 127.0.0.1:8000 for this machine only, or :8000",
		"127.0.0.1":                            "the port is missing: write 127.0.0.1:8000",
		"::1":                                  "the port is missing: write [::1]:8000",
		"[::1]":                                "the port is missing: write [::1]:8000",
		"127.0.0.1:":                           "the port is missing",
		"127.0.0.1:0":                          "port 0 is out of range",
		"127.0.0.1:-1":                         "port -1 is out of range",
		"127.0.0.1:65536":                      "port 65536 is out of range",
		"127.0.0.1:99999999999999999999":       "is out of range",
		"127.0.0.1:http":                       `port "http" is not a number`,
		"fe80::1:2:3:8000:zz":                  "an IPv6 address stands in brackets",
		"::1:8000":                             "write [::1]:8000, or [::1:8000]:8000 if the port is missing",
		"2001:db8:0:0:0:0:0:1:8000":            "an IPv6 address stands in brackets, before the port: write [2001:db8::1]:8000",
		"[::1]8000":                            "write [::1]:8000",
		"2001:db8::ff":                         "the port is missing: write [2001:db8::ff]:8000",
		"shop.example:8000":                    "names are not looked up",
		"*:8000":                               "write 0.0.0.0 for every IPv4 address",
		"300.0.0.1:8000":                       "is not an IP address",
		"http://127.0.0.1:8000/":               "write 127.0.0.1:8000, without http://",
		"fd://3":                               "write systemd:NAME",
		"unix:///run/web.sock":                 "write unix:/run/web.sock, with one slash",
		"/run/web.sock":                        "write unix:/run/web.sock",
		"run/web.sock":                         "write IP:PORT, unix:/PATH or systemd:NAME",
		"unix:":                                "the path is missing",
		"unix:run/web.sock":                    "the path is not absolute",
		"unix:@web":                            "abstract",
		"unix:/run/../run/web.sock":            "write unix:/run/web.sock",
		"unix:/run/":                           "the path is a directory: write unix:/run/web.sock",
		"unix:/":                               "is a directory",
		"unix:/a\x00b":                         "NUL",
		"unix:/" + strings.Repeat("x", 97):     "the path has 98 bytes, and the kernel's limit leaves room for 97",
		"systemd:":                             "the name is missing",
		"systemd:web:":                         "it is empty",
		"systemd:web:nonsense":                 "write IP:PORT",
		"systemd:web:unix:relative":            "the path is not absolute",
		"tcp":                                  "write IP:PORT, unix:/PATH or systemd:NAME",
		"[::1]x:8000":                          "write IP:PORT",
		"127.0.0.1:8000 ":                      `port "8000 " is not a number`,
		"unix:/run/" + strings.Repeat("é", 60): "bytes",
	} {
		_, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{
		"127.0.0.1:8000", "[::]:8000", ":8000", "unix:/run/a", "systemd:web",
		"systemd:web:[::1]:1", "[fe80::1%lo]:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		if a.String() != text {
			t.Fatalf("String() = %q", a.String())
		}
		if a.network == unixNet && len(a.path) > longestPath {
			t.Fatalf("path of %d bytes", len(a.path))
		}
		if a.network == tcp && (!a.tcp.IsValid() || a.tcp.Port() == 0) {
			t.Fatalf("no address in %q", text)
		}
	})
}
