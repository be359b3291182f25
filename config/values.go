package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
)

// values reads single values of a config, and records what is wrong with them.
type values struct{ problems }

// path parses an absolute path.
func (l *values) path(key, path string) string {
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		l.at(key, "%s %q: write the whole path, from /", key, path)
		return ""
	}
	return filepath.Clean(path)
}

func (l *values) number(key string, v *int64, otherwise, least, most int64) int64 {
	if v == nil {
		return otherwise
	}
	if *v < least || *v > most {
		l.at(key, "%s = %d: it must be from %d to %d", last(key), *v, least, most)
	}
	return *v
}

// minMemory is what a Python interpreter needs to start.
const minMemory = 16 << 20

// size parses an amount of memory, with the suffixes of systemd's MemoryMax=: K, M and G to the
// base of 1024.
func (l *values) size(key string, v any) uint64 {
	var n uint64
	unit := "" // of v in a message
	switch v := v.(type) {
	case nil:
		return 0
	case int64:
		n, unit = uint64(max(v, 0)), " bytes"
	case string:
		number, shift := v, 0
		if v != "" {
			if at := strings.IndexByte("KMG", v[len(v)-1]); at >= 0 {
				number, shift = v[:len(v)-1], 10*(at+1)
			}
		}
		parsed, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil || parsed > 1<<62>>shift {
			l.at(key, `%s = %q: write an amount of memory such as "512M" or "2G"`, last(key), v)
			return 0
		}
		n = parsed << shift
		if shift == 0 {
			unit = " bytes"
		}
	default:
		l.at(key, `%s: write an amount of memory such as "512M" or "2G"`, last(key))
		return 0
	}
	if n < minMemory {
		l.at(key, "%s = %v%s: it must be at least %dM", last(key), v, unit, minMemory>>20)
	}
	return n
}

func (l *values) duration(key string, v *duration, otherwise, least time.Duration) time.Duration {
	if v == nil {
		return otherwise
	}
	d, err := time.ParseDuration(string(*v))
	switch {
	case err != nil && isNumber(string(*v)):
		l.at(key, "%s = %q: it needs a unit, such as %q", last(key), *v, *v+"s")
	case err != nil && days(string(*v)) > 0:
		l.at(key, `%s = %q: write it in hours, such as "%dh"`, last(key), *v, 24*days(string(*v)))
	case err != nil:
		l.at(key, `%s: invalid duration %q: write "10s", "5m" or "1m30s"`, last(key), *v)
	case d < least && least > 0:
		l.at(key, "%s = %q is too short: it must be at least %s", last(key), *v, written(least))
	case d < 0:
		l.at(key, "%s = %q: it cannot be negative", last(key), *v)
	case d > maxDuration:
		l.at(key, "%s = %q: it cannot be longer than 720h (30 days)", last(key), *v)
	}
	return d
}

// written returns a duration as one writes it in a config: 1m, not 1m0s.
func written(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// days returns the number of a duration such as 2d, or 0.
func days(text string) int {
	number, isDays := strings.CutSuffix(text, "d")
	n, err := strconv.Atoi(number)
	if !isDays || err != nil || n < 0 || n > int(maxDuration/(24*time.Hour)) {
		return 0
	}
	return n
}

func isNumber(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

func (l *values) mode(key, text string) fs.FileMode {
	if text == "" {
		return 0
	}
	m, err := strconv.ParseUint(text, 8, 32)
	if err != nil || m == 0 || m > 0o777 {
		l.at(key, `mode %q: write it in octal, such as "0660"`, text)
	}
	return fs.FileMode(m)
}

func (l *values) command(key string, v any) []string {
	if v == nil {
		l.at(key, `%s has no command: write command = "gunicorn shop.wsgi"`, key)
		return nil
	}
	return l.words(key+".command", "command", v)
}

// words parses a command: a string that is split as by a shell, or a list of words. what is its
// name in messages.
//
// go-shellquote splits it, and mvdan.cc/sh parses only what a shell will run (servers): its words
// still have their backslashes, it drops all from a # on, it refuses a;b, a&b and (b), which URLs
// have, and shell.Fields expands variables, braces and ~.
func (l *values) words(key, what string, v any) []string {
	switch v := v.(type) {
	case string:
		words, err := shellquote.Split(v)
		switch {
		case errors.Is(err, shellquote.UnterminatedEscapeError):
			l.at(key, "%s: it ends with a backslash, which has nothing to quote", what)
		case err != nil:
			l.at(key, "%s: a quote is not closed", what)
		case len(words) == 0 || words[0] == "":
			l.at(key, "%s: it is empty", what)
		case ShellSyntax(words) != "":
			l.at(key, "%s: %s is for a shell, and none runs it: write [\"sh\", \"-c\", \"...\"] (or two commands)",
				what, ShellSyntax(words))
		case shellMistake(v) != "":
			l.at(key, "%s: %s", what, shellMistake(v))
		}
		return words
	case []any:
		return l.listWords(key, what, v)
	default:
		l.at(key, "%s must be a string of shell words, or a list of words", what)
	}
	return nil
}

// listWords parses a command that is a list of words.
func (l *values) listWords(key, what string, list []any) []string {
	words := make([]string, len(list))
	for i, w := range list {
		word, ok := w.(string)
		if !ok {
			l.at(key, "%s: each word must be a string, and %#v is not", what, w)
		}
		words[i] = word
	}
	switch {
	case len(words) == 0 || words[0] == "":
		l.at(key, "%s: it is empty", what)
	case len(words) == 1 && strings.Contains(words[0], " ") && !strings.HasPrefix(words[0], "/"):
		first := strings.Fields(words[0] + " ?")[0]
		if m := assignment.FindStringSubmatch(first); m != nil {
			first = m[1] + "=" // the value may be a secret
		}
		l.at(key, "%s: \"%s ...\" is one word of a list: write each word in quotes of its own, or the command without brackets", what, first)
	}
	return words
}

func (l *values) statuses(key string, v any) []int {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	if ok && len(list) == 0 {
		l.at(key, "status is empty: write the numbers that are healthy, such as 200, or leave it out for 200 to 299")
	}
	var out []int
	for _, s := range list {
		n, ok := s.(int64)
		if !ok || n < 100 || n > 599 {
			l.at(key, "status %#v: write a number from 100 to 599, or a list of them", s)
		}
		out = append(out, int(n))
	}
	return out
}

// commands parses a command or a list of commands.
func (l *values) commands(key string, v any) [][]string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return [][]string{l.words(key, key, v)}
	case []any:
		list := make([][]string, len(v))
		for i, one := range v {
			list[i] = l.words(key, key, one)
		}
		return list
	}
	l.at(key, `%s: a list of commands is expected: ["python manage.py migrate"]`, key)
	return nil
}
