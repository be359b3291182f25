// Package redact takes the values of secrets out of text.
//
// An application that fails may print what it was given: Django quotes a setting that it cannot
// use, and a package manager the address of an index with its password. What superctl prints, keeps
// and sends of the words of programs has these values taken out, in all forms in which programs
// print them.
package redact

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"superctl/plain"
)

// mark stands in the place of a value.
const mark = "***"

const (
	shortestNamed  = 4 // bytes of a value that is taken out when the name of its variable says that it is secret
	shortestValue  = 6 // of any other
	shortestLine   = 8 // of a line of a value that has several
	shortestLogged = 8 // of a value that is taken out of the app's own log, which True and development must not garble
	longestSecret  = 1 << 20
)

var (
	secretName = regexp.MustCompile(`(?i)key|secret|token|pass|pwd|cred|auth|salt|private|sign|dsn|webhook|cert|session|cookie`)

	// harmlessValue is a number, a word in small letters, the path of a module or of a file, or
	// host names: a report without them explains nothing, and they are seldom a secret.
	harmlessValue = regexp.MustCompile(`^(?:[0-9.,:]{1,12}|[a-z]{1,16}|[A-Za-z]{1,6}|[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+|/[\w./@+-]*|(?:[a-z][a-z-]*\.)+[a-z]+(?::[0-9]+)?)$`)
)

// Secrets collects the values to take out. The zero value has none.
type Secrets struct{ forms map[string]bool }

// Variable adds the value of a variable when its name or the value itself looks like a secret.
func (s *Secrets) Variable(name, value string) {
	if IsSecret(name, value) {
		s.add(value)
	}
}

// Secret adds a value that is known to be a secret; one of a few characters is too short to be
// found in text.
func (s *Secrets) Secret(value string) {
	if len(value) >= shortestNamed {
		s.add(value)
	}
}

// Named adds the value of a variable when its name looks like that of a secret: for an environment
// that holds much else.
func (s *Secrets) Named(name, value string) {
	if secretName.MatchString(name) {
		s.Secret(value)
	}
}

func (s *Secrets) add(value string) {
	if s.forms == nil {
		s.forms = make(map[string]bool)
	}
	addForms(s.forms, value)
}

// Redactor returns what takes the values out.
func (s *Secrets) Redactor() *Redactor {
	longestFirst := slices.SortedFunc(maps.Keys(s.forms), func(a, b string) int {
		return cmp.Or(len(b)-len(a), cmp.Compare(a, b))
	})
	var all, long []string
	for _, form := range longestFirst {
		all = append(all, form, mark)
		if len(form) >= shortestLogged {
			long = append(long, form, mark)
		}
	}
	return &Redactor{strings.NewReplacer(all...), strings.NewReplacer(long...)}
}

// Redactor takes values out of text; nil knows none.
type Redactor struct{ all, long *strings.Replacer }

// login matches the user and the password in an address.
var login = regexp.MustCompile(`(://)[^\s/:@'"]*:[^\s/@'"]+@`)

// Text returns a text without the values, without the passwords of addresses, and without what
// would act on a terminal.
func (r *Redactor) Text(text string) string {
	if r != nil {
		text = r.all.Replace(text)
	}
	return login.ReplaceAllString(plain.Text(text), "${1}"+mark+"@")
}

// Logged returns a line of the app's own log without the values of 8 bytes and more. All else stays
// as it is.
func (r *Redactor) Logged(line string) string {
	if r == nil {
		return line
	}
	return r.long.Replace(line)
}

// IsSecret reports whether the value of a variable looks like a secret, by the variable's name or by itself.
func IsSecret(name, value string) bool {
	if secretName.MatchString(name) {
		return len(value) >= shortestNamed
	}
	return len(value) >= shortestValue && len(value) <= longestSecret && !harmlessValue.MatchString(value)
}

// addForms adds the forms in which programs print a value, and those parts of it that are secret by
// themselves.
func addForms(forms map[string]bool, value string) {
	parts := []string{value}
	if lines := strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		for _, line := range lines {
			if len(line) >= shortestLine {
				parts = append(parts, line)
			}
		}
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		password, _ := u.User.Password()
		_, raw, _ := strings.Cut(u.User.String(), ":")
		// a Sentry DSN has its key in the place of the user
		for _, part := range []string{password, raw, u.User.Username()} {
			if len(part) >= shortestValue || part != "" && part != u.User.Username() && len(part) >= shortestNamed {
				parts = append(parts, part)
			}
		}
	}
	for _, part := range parts {
		quoted := strconv.Quote(part)
		asJSON, _ := json.Marshal(part) // a string always can be
		for _, form := range []string{
			part, quoted[1 : len(quoted)-1], string(asJSON[1 : len(asJSON)-1]), strings.ReplaceAll(
				strings.ReplaceAll(part, `\`, `\\`), `'`, `\'`,
			),
			url.QueryEscape(part), url.PathEscape(part), html.EscapeString(part), strings.ToValidUTF8(part, "\uFFFD"),
			plain.Line(part),
			base64.StdEncoding.EncodeToString([]byte(part)),
		} {
			if len(form) >= shortestNamed {
				forms[form] = true
			}
		}
	}
}
