package install

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func TestCredentialsForAServerAreThoseOfNetrc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netrc")
	must(t, os.WriteFile(path, []byte("machine ci.example.com login deploy password p@ss\nmachine other\n  password x\n  account a\n  login y\nmachine half login only\ndefault login anonymous password me\nmacdef init\ncd /\n"), 0o600))
	for address, want := range map[string]string{
		"https://ci.example.com:8443/x": "deploy:p%40ss", "https://other/x": "y:x", "https://third/x": "anonymous:me", "https://me:own@ci.example.com/x": "me:own", "https://half/": "only:",
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
