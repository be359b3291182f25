package install

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsForAServerAreThoseOfNetrc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netrc")
	const text = "machine ci.example.com login deploy password p@ss\nmachine other\n  password x\n  account a\n  " +
		"login y\n" +
		"machine half login only\ndefault login anonymous password me\nmacdef init\ncd /\n"
	must(t, os.WriteFile(path, []byte(text), 0o600))
	for address, want := range map[string]string{
		"https://ci.example.com:8443/x": "deploy:p%40ss", "https://other/x": "y:x", "https://third/x": "anonymous:me",
		"https://me:own@ci.example.com/x": "me:own", "https://half/": "only:",
	} {
		u, err := url.Parse(address)
		must(t, err)
		with, err := login(u, func(name string) string { return map[string]string{"NETRC": path}[name] })
		if err != nil || with.User.String() != want {
			t.Errorf("%s: %v, %v", address, with, err)
		}
	}
	u := &url.URL{Scheme: "https", Host: "x"}
	if with, err := login(u, func(string) string { return "" }); err != nil || with.User != nil {
		t.Errorf("%v, %v", with, err)
	}
	if with, err := login(u, func(string) string { return t.TempDir() }); err == nil {
		t.Errorf("a directory: %v", with)
	}
}

// TestANetrcFileIsReadAsPythonReadsIt compares the two parsers. Python refuses some comments that
// curl accepts, and takes the last entry of a host instead of the first: no file here has either.
func TestANetrcFileIsReadAsPythonReadsIt(t *testing.T) {
	const program = `import json, netrc, sys
try:
    print(json.dumps((netrc.netrc(sys.argv[1]).authenticators("ci") or [None, None, None])[::2]))
except netrc.NetrcParseError:
    print('"refused"')`
	for _, text := range []string{
		"machine other login default password hunter2\n",
		"machine other login alice password default\nmachine x login bob password b0b\n",
		"machine ci login default password default\n",
		"machine ci login a password macdefghi\nmachine b login c password d\n",
		"machine ci login macdef password machine\n",
		"machine other login alice password machine ci\n",
		"machine other login machine password ci login x\n",
		"# machine ci login old password oldpw\nmachine ci login new password newpw\n",
		"machine ci # the server\n login new # machine ci\n password #pw\n",
		"machine ci\n\taccount x\n\tlogin \"my user\"\n\tpassword \"a \\\"b\\\\\"\n",
		"machine ci login a\\ b password \\\"c\n",
		"macdef init\nmachine ci login evil password evil\n\nmachine ci login a password b\n",
		"machine ci login a password b\nmacdef init\ncd /\n\n",
		"default login anonymous password me\n", "machine ci password only\n", "machine ci\n", "", "\n\n  ",
		"login a password b\n", "machine ci user a password b", "machine ci nonsense x\n",
	} {
		path := filepath.Join(t.TempDir(), "netrc")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		out, err := exec.Command("python3", "-c", program, path).Output()
		must(t, err)
		entry, found, err := findNetrc(text, "ci")
		got := []any{nil, nil}
		if found {
			got = []any{entry.login, entry.password}
		}
		ours, bad := json.Marshal(got)
		must(t, bad)
		if err != nil {
			ours = []byte(`"refused"`)
		}
		if strings.ReplaceAll(strings.TrimSpace(string(out)), ", ", ",") != string(ours) {
			t.Errorf("%q: Python has %s, and here it is %s (%v)", text, out, ours, err)
		}
		if err != nil && strings.Contains(err.Error(), "nonsense") {
			t.Errorf("it shows what may be a password: %v", err)
		}
	}
}
