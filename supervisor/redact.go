package supervisor

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

	"superctl/beneath"
	"superctl/plain"
	"superctl/supervisor/worker"
)

// An application that fails may print what it was given: Django quotes a setting that it cannot use. What superctl keeps and sends of
// its words, in the history, in messages, in status, has the values of its variables taken out. Its log has them as it wrote them.

// redacted stands in the place of a value.
const redacted = "***"

const (
	shortestNamed = 4 // bytes of a value that is taken out when the name of its variable says that it is secret
	shortestValue = 6 // of any other
	shortestLine  = 8 // of a line of a value that has several
	longestSecret = 1 << 20
)

var (
	secretName = regexp.MustCompile(`(?i)key|secret|token|pass|pwd|cred|auth|salt|private|sign|dsn|webhook|cert|session|cookie`)

	// harmlessValue is a number, a word in small letters, the path of a module or of a file, or host names: a report without them
	// explains nothing, and they are seldom a secret.
	harmlessValue = regexp.MustCompile(`^(?:[0-9.,:]{1,12}|[a-z]{1,16}|[A-Za-z]{1,6}|[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+|/[\w./@+-]*|(?:[a-z][a-z-]*\.)+[a-z]+(?::[0-9]+)?)$`)
)

// redactor takes the values of a plan's variables out of text.
type redactor struct{ replacer *strings.Replacer }

// redactorOf knows the values of a plan: those of the operator's variables, and of the unit's credentials.
func redactorOf(p *Plan) *redactor {
	forms := make(map[string]bool)
	origins, secrets := make(map[string]string), maps.Clone(p.Hooks.Secrets)
	lists := [][]string{p.Hooks.Env}
	for i := range p.Processes {
		one := &p.Processes[i]
		maps.Copy(origins, one.EnvFrom)
		if secrets == nil {
			secrets = make(worker.Secrets)
		}
		maps.Copy(secrets, one.Secrets)
		lists = append(lists, one.Env, one.Templates)
	}
	for _, kv := range slices.Concat(lists...) {
		name, value, _ := strings.Cut(kv, "=")
		if from := origins[name]; from != "superctl" && from != "release" && isSecret(name, value) {
			addForms(forms, value)
		}
	}
	for name, path := range secrets {
		if value, err := readCredential(path); err == nil && len(value) >= shortestNamed {
			addForms(forms, value)
		} else if err == nil && isSecret(name, value) {
			addForms(forms, value)
		}
	}
	longestFirst := slices.SortedFunc(maps.Keys(forms), func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range longestFirst {
		pairs = append(pairs, form, redacted)
	}
	return &redactor{strings.NewReplacer(pairs...)}
}

// readCredential reads one as a worker will, but follows no link of its user's.
func readCredential(path string) (string, error) {
	f, err := beneath.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // for reading only
	return worker.SecretFrom(f)
}

// isSecret reports whether the value of a variable is to be taken out.
func isSecret(name, value string) bool {
	if secretName.MatchString(name) {
		return len(value) >= shortestNamed
	}
	return len(value) >= shortestValue && len(value) <= longestSecret && !harmlessValue.MatchString(value)
}

// addForms adds the forms in which programs print a value, and those parts of it that are secret by themselves.
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
		for _, part := range []string{password, raw, u.User.Username()} { // a Sentry DSN has its key in the place of the user
			if len(part) >= shortestValue || part != "" && part != u.User.Username() && len(part) >= shortestNamed {
				parts = append(parts, part)
			}
		}
	}
	for _, part := range parts {
		quoted := strconv.Quote(part)
		asJSON, _ := json.Marshal(part) // a string always can be
		for _, form := range []string{
			part, quoted[1 : len(quoted)-1], string(asJSON[1 : len(asJSON)-1]), strings.ReplaceAll(strings.ReplaceAll(part, `\`, `\\`), `'`, `\'`),
			url.QueryEscape(part), url.PathEscape(part), html.EscapeString(part), strings.ToValidUTF8(part, "\uFFFD"), plain.Line(part),
			base64.StdEncoding.EncodeToString([]byte(part)),
		} {
			if len(form) >= shortestNamed {
				forms[form] = true
			}
		}
	}
}

// text is a text without the values, and without what is not text.
func (r *redactor) text(s string) string {
	if r != nil {
		s = r.replacer.Replace(s)
	}
	return plain.Text(s)
}

// clean is a text of the application's, or with one in it, as it may be kept and sent.
func (c *change) clean(s string) string {
	if c.from != nil {
		s = c.from.plan.redactor.text(s)
	}
	return c.plan.redactor.text(s)
}

// errorText is an error as it may be kept and sent; "" for none.
func (c *change) errorText(err error) string {
	if err == nil {
		return ""
	}
	return c.clean(err.Error())
}

func (c *change) cleanAll(lines []string) (clean []string) {
	for _, line := range lines {
		clean = append(clean, c.clean(line))
	}
	return clean
}
