package worker

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"superctl/supervisor/worker/starter"
)

// placeholder is {release}, {fd.web} and the like.
var placeholder = regexp.MustCompile(`^\{([a-z]+(?:\.[A-Za-z0-9_-]+)?)\}`)

// Expand replaces the placeholders of a text by what value gives for their names; it returns the
// name of one that value does not know. "{{" is a brace, so {{release}} becomes {release}. ${NAME}
// is a shell's and %({name}i)s gunicorn's: both are left alone, as is every brace that begins no
// placeholder, such as one of JSON.
func Expand(text string, value func(name string) (string, bool)) (expanded, unknown string) {
	if !strings.Contains(text, "{") {
		return text, ""
	}
	var b strings.Builder
	for at := 0; at < len(text); {
		rest := text[at:]
		if rest[0] != '{' || strings.HasSuffix(text[:at], "$") || strings.HasSuffix(text[:at], "%(") {
			b.WriteByte(rest[0])
			at++
			continue
		}
		if strings.HasPrefix(rest, "{{") {
			named := placeholder.FindString(rest[1:])
			at += 1 + max(len(named), 1)
			b.WriteString(cmp.Or(named, "{"))
			if named != "" && strings.HasPrefix(text[at:], "}") {
				at++
			}
			continue
		}
		m := placeholder.FindStringSubmatch(rest)
		if m == nil {
			b.WriteByte('{')
			at++
			continue
		}
		v, known := value(m[1])
		if !known && unknown == "" {
			unknown = m[1]
		}
		b.WriteString(v)
		at += len(m[0])
	}
	return b.String(), unknown
}

// value is what a placeholder of the command or of a variable stands for in this worker.
func (s *Spec) value(name string) (string, bool) {
	switch name {
	case "release":
		return s.Release, true
	case "commit":
		return s.Commit, true
	case "generation":
		return fmt.Sprint(s.Generation), true
	case "process":
		return s.Process, true
	case "instance":
		return fmt.Sprint(s.Instance), true
	case "scratch":
		return s.Scratch, s.Scratch != ""
	}
	kind, listener, _ := strings.Cut(name, ".")
	for i, f := range s.Files {
		switch {
		case f.Name == listener && kind == "fd":
			return fmt.Sprint(starter.FirstFD + i), true
		case f.Name == listener && kind == "addr":
			return f.Addr, true
		}
	}
	return "", false
}

// expand replaces the placeholders of the command and of the variables that have some.
func (s *Spec) expand() (args, env []string, err error) {
	if len(s.Command) == 0 {
		return nil, nil, errors.New("the command is empty")
	}
	args = make([]string, len(s.Command))
	for i, a := range s.Command {
		var unknown string
		if args[i], unknown = Expand(a, s.value); unknown != "" {
			return nil, nil, s.without("the command", unknown)
		}
	}
	for _, kv := range s.Templates {
		expanded, unknown := Expand(kv, s.value)
		if unknown != "" {
			return nil, nil, s.without("environment variable "+nameOf(kv), unknown)
		}
		env = append(env, expanded)
	}
	return args, env, nil
}

// without says why a placeholder stands for nothing in this worker.
func (s *Spec) without(what, name string) error {
	if name == "scratch" {
		return fmt.Errorf("%s: {scratch}: there is no scratch directory; the daemon's log has the reason", what)
	}
	names := make([]string, len(s.Files))
	for i, f := range s.Files {
		names[i] = f.Name
	}
	return fmt.Errorf("%s: {%s} names no listener of this process (it has %s)", what, name, strings.Join(names, ", "))
}
