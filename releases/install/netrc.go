package install

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// netrcLimit bounds the size of a netrc file.
const netrcLimit = 1 << 20

// login adds to a URL the credentials that ~/.netrc has for its host, as curl, git and pip do.
func login(u *url.URL, getenv func(string) string) (*url.URL, error) {
	path := cmp.Or(getenv("NETRC"), filepath.Join(getenv("HOME"), ".netrc"))
	if u.User != nil || !filepath.IsAbs(path) {
		return u, nil
	}
	text, err := readNetrc(path)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	var entry netrcEntry
	var found bool
	if err == nil {
		entry, found, err = findNetrc(text, u.Hostname())
	}
	if err != nil {
		return nil, fmt.Errorf("the credentials for %s: %s: %w", u.Hostname(), path, withoutPath(err))
	}
	if !found {
		return u, nil
	}
	with := *u
	with.User = url.UserPassword(entry.login, entry.password)
	return &with, nil
}

func readNetrc(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // do not block on a FIFO
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, netrcLimit+1))
	if len(text) > netrcLimit {
		err = fmt.Errorf("longer than %d bytes", netrcLimit)
	}
	return string(text), err
}

func withoutPath(err error) error {
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

type netrcEntry struct{ login, password string }

// findNetrc returns the first entry for a host, or else the default entry. It follows Python's
// netrc module: a quoted token may contain blanks, a backslash escapes the next character, a
// keyword counts only where one is allowed, # starts a comment there, and a macro ends at an empty
// line. Errors name a line, never a token, which may be a password.
//
// No library does. Of the 21 files of TestANetrcFileIsReadAsPythonReadsIt, bgentry/go-netrc (not
// changed since 2014) reads 5 differently, jdx/go-netrc v1.0.0 12. Both return the login in a macro
// instead of the host's, and know no quotes; jdx takes "login default" for an entry, and panics
// when a password is "machine".
func findNetrc(text, host string) (entry netrcEntry, found bool, err error) {
	in := &netrcLexer{rest: text, line: 1}
	for {
		word, ok, err := in.keyword()
		if err != nil || !ok {
			return entry, found, err
		}
		switch word {
		case "machine", "default":
			name := ""
			if word == "machine" {
				if name, err = in.value(word); err != nil {
					return entry, false, err
				}
			}
			one, err := in.entry()
			if err != nil {
				return entry, false, err
			}
			if word == "machine" && name == host {
				return one, true, nil
			}
			if word == "default" && !found {
				entry, found = one, true
			}
		case "macdef":
			in.macro()
		default:
			return entry, false, in.fail("machine, default or macdef is expected")
		}
	}
}

// netrcLexer splits a netrc file into tokens.
type netrcLexer struct {
	rest string
	line int
}

func (in *netrcLexer) fail(what string) error { return fmt.Errorf("line %d: %s", in.line, what) }

// entry reads the tokens of a machine, up to the next top-level keyword.
func (in *netrcLexer) entry() (e netrcEntry, err error) {
	for {
		before := *in
		word, ok, err := in.keyword()
		if err != nil || !ok {
			return e, err
		}
		switch word {
		case "machine", "default", "macdef":
			*in = before
			return e, nil
		case "login", "user":
			e.login, err = in.value(word)
		case "password":
			e.password, err = in.value(word)
		case "account":
			_, err = in.value(word)
		default:
			err = in.fail("login, password or account is expected")
		}
		if err != nil {
			return e, err
		}
	}
}

// keyword returns the next token outside comments, and false at the end.
func (in *netrcLexer) keyword() (string, bool, error) {
	for {
		in.blanks()
		if !strings.HasPrefix(in.rest, "#") {
			break
		}
		in.skipLine()
	}
	if in.rest == "" {
		return "", false, nil
	}
	word, err := in.token()
	return word, err == nil, err
}

func (in *netrcLexer) value(of string) (string, error) {
	if in.blanks(); in.rest == "" {
		return "", in.fail(of + " has no value")
	}
	return in.token()
}

func (in *netrcLexer) blanks() {
	trimmed := strings.TrimLeft(in.rest, " \t\r\n")
	in.line += strings.Count(in.rest[:len(in.rest)-len(trimmed)], "\n")
	in.rest = trimmed
}

func (in *netrcLexer) skipLine() {
	_, rest, more := strings.Cut(in.rest, "\n")
	if in.rest = rest; more {
		in.line++
	}
}

// macro skips a macro, which ends at an empty line.
func (in *netrcLexer) macro() {
	for in.skipLine(); in.rest != "" && in.rest[0] != '\n'; in.skipLine() {
	}
}

// token reads a word, which may be quoted.
func (in *netrcLexer) token() (string, error) {
	var word strings.Builder
	quoted := in.rest[0] == '"'
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(in.rest); i++ {
		switch c := in.rest[i]; {
		case quoted && c == '"':
			in.rest = in.rest[i+1:]
			return word.String(), nil
		case c == '\n' && quoted:
			return "", in.fail("a quote is not closed")
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			in.rest = in.rest[i:]
			return word.String(), nil
		case c == '\\' && i+1 < len(in.rest):
			i++
			word.WriteByte(in.rest[i])
		default:
			word.WriteByte(c)
		}
	}
	if quoted {
		return "", in.fail("a quote is not closed")
	}
	in.rest = ""
	return word.String(), nil
}
