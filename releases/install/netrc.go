package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// login adds to an address what ~/.netrc has for its host, as curl, git and pip do.
func login(u *url.URL, getenv func(string) string) (*url.URL, error) {
	path := cmp.Or(getenv("NETRC"), filepath.Join(getenv("HOME"), ".netrc"))
	if u.User != nil || !filepath.IsAbs(path) {
		return u, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the credentials for %s: %w", u.Hostname(), err)
	}
	user, password, ok := netrc(string(text), u.Hostname())
	if !ok {
		return u, nil
	}
	with := *u
	with.User = url.UserPassword(user, password)
	return &with, nil
}

// netrc finds a machine, or what is for all others.
func netrc(text, host string) (user, password string, ok bool) {
	text, _, _ = strings.Cut(text, "macdef") // macros stand at the end
	words := strings.Fields(text)
	start := slices.IndexFunc(words, func(w string) bool { return w == "default" })
	for i := 0; i+1 < len(words); i++ {
		if words[i] == "machine" && words[i+1] == host {
			start = i + 1
			break
		}
	}
	if start < 0 {
		return "", "", false
	}
	for i := start + 1; i+1 < len(words) && words[i] != "machine" && words[i] != "default"; i += 2 {
		switch words[i] {
		case "login":
			user = words[i+1]
		case "password":
			password = words[i+1]
		}
	}
	return user, password, true
}
