package importer

import (
	"path/filepath"
	"regexp"
	"strings"

	"superctl/redact"
)

// statement matches the begin of an assignment at the top level of a Python file.
var statement = regexp.MustCompile(`^([A-Za-z_]\w*)\s*(?::[^=]+)?=\s*(.*)$`)

// gunicorn imports a gunicorn.conf.py. It is a program, which gunicorn goes on to read: it stays in
// the project, and only what superctl does by itself has to go.
func (r *report) gunicorn(f File) {
	if dir := filepath.Dir(f.Path); filepath.IsAbs(dir) {
		r.out.Dir = dir
	}
	list := pythonStatements(f)
	app := ""
	for _, d := range list {
		if d.key == "wsgi_app" && literal(d.value) != "" {
			app = " " + literal(d.value)
		}
		if d.key == "chdir" && filepath.IsAbs(literal(d.value)) {
			r.out.Dir = literal(d.value)
		}
	}
	p := r.process("web")
	p.Command = "gunicorn --config " + filepath.Base(f.Path) + app
	if filepath.Base(f.Path) == "gunicorn.conf.py" {
		p.Command = "gunicorn" + app // its default
	}
	if app == "" {
		p.Command, r.out.GunicornConfig = "", filepath.Base(f.Path) // the project says what the app is
	}
	for _, d := range list {
		r.gunicornSetting(d)
	}
	r.oneApp(f.Path)
}

// literal returns the text of a Python string or number, or "".
func literal(value string) string {
	value = strings.TrimSpace(value)
	if i := strings.Index(value, " #"); i >= 0 {
		value = strings.TrimSpace(value[:i])
	}
	for _, q := range []string{`"`, "'"} {
		if len(value) > 1 && strings.HasPrefix(value, q) && strings.HasSuffix(value, q) && strings.Count(value, q) == 2 {
			return value[1 : len(value)-1]
		}
	}
	if digits(value) {
		return value
	}
	return ""
}

// builtInGunicorn are settings that superctl makes unnecessary.
func builtInGunicorn() map[string]string {
	return map[string]string{
		"pidfile": watches, "daemon": watches, "reload": reloads, "reuse_port": "superctl itself moves traffic to the new workers",
		"group": "the group is the user's", "chdir": "the working directory is the release",
	}
}

// gunicornSetting imports a setting of gunicorn.conf.py.
func (r *report) gunicornSetting(d directive) {
	p := r.process("web")
	value := literal(d.value)
	const takeOut = "remove it from the file: "
	if why := builtInGunicorn()[d.key]; why != "" {
		r.builtIn(d, takeOut+why)
		return
	}
	switch d.key {
	case "bind":
		if at := normalAddress(strings.Trim(value, "[]"), r.out.Dir); at != "" {
			r.kept(d, "listen."+r.listen(p, at)+".address", "gunicorn does not use it under superctl")
			return
		}
		r.dropped(d, "not an address in plain text: use --address")
	case "certfile", "keyfile":
		r.dropped(d, takeOut+tls)
	case "user":
		if value != "" && value != "root" {
			r.out.User = value
		}
		r.kept(d, "drop-in: User=", "remove it from the file: superctl starts gunicorn as this user")
	case "wsgi_app":
		r.kept(d, "process.web.command")
	case "graceful_timeout":
		if t, ok := seconds(value); ok {
			setKey(p, "drain", tomlDuration(t))
			r.kept(d, "process.web.drain")
			return
		}
		r.kept(d, "the file, which gunicorn reads")
	default:
		secret := redact.IsSecret(d.key, value) && value != ""
		if secret || d.key == "raw_env" || strings.Contains(d.key, "environ") {
			d.text = d.key + " = ***"
		}
		r.kept(d, "the file, which gunicorn reads")
	}
}

// pythonStatements splits a Python file into its statements at the top level, each with all of its
// lines.
func pythonStatements(f File) (list []directive) {
	depth := 0
	quote := ""
	lines := strings.Split(f.Text, "\n")
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		inside := depth > 0 || quote != ""
		depth, quote = pythonState(line, depth, quote)
		if !inside && (trimmed == "" || trimmed[0] == '#') {
			continue
		}
		if len(list) > 0 {
			last := &list[len(list)-1]
			decorated := strings.HasPrefix(last.text, "@") && last.to == i
			if inside || decorated || strings.HasSuffix(strings.TrimSpace(lines[i-1]), `\`) || continues(line) {
				last.to = i + 1
				last.value += " " + trimmed
				continue
			}
		}
		d := directive{file: f.Path, from: i + 1, to: i + 1, text: trimmed}
		if m := statement.FindStringSubmatch(trimmed); m != nil && !strings.HasPrefix(m[2], "=") {
			d.key, d.value = m[1], m[2]
		}
		list = append(list, d)
	}
	return list
}

// continues reports whether a line belongs to the statement before it, by its own words.
func continues(line string) bool {
	trimmed := strings.TrimSpace(line)
	for _, word := range []string{"else", "elif", "except", "finally"} {
		if strings.HasPrefix(trimmed, word) {
			return true
		}
	}
	return line[0] == ' ' || line[0] == '\t' || strings.Trim(trimmed, ")]}") == ""
}

// pythonState follows brackets and strings over a line.
func pythonState(line string, depth int, quote string) (int, string) {
	for i := 0; i < len(line); i++ {
		rest := line[i:]
		if quote != "" {
			switch {
			case rest[0] == '\\':
				i++
			case strings.HasPrefix(rest, quote):
				i += len(quote) - 1
				quote = ""
			}
			continue
		}
		switch c := rest[0]; {
		case c == '#':
			return depth, quote
		case strings.HasPrefix(rest, `"""`) || strings.HasPrefix(rest, "'''"):
			quote = rest[:3]
			i += 2
		case c == '"' || c == '\'':
			quote = rest[:1]
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth = max(0, depth-1)
		}
	}
	if len(quote) == 1 { // a string in one line ends with it
		quote = ""
	}
	return depth, quote
}
