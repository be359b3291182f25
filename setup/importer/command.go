package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/setup"
)

// command is a command that is being imported.
type command struct {
	words  []string
	server string // "" = none that is known
	notes  []string
	host   string
	port   string
	sets   []address
	mode   string
	user   string
	dir    string
	uwsgi  bool // the address speaks uWSGI's protocol
}

type address struct{ text string }

func (c *command) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// knownPrograms are the names of programs whose options are known.
func knownPrograms() map[string]string {
	return map[string]string{
		"gunicorn": "gunicorn", "gunicorn3": "gunicorn", "uvicorn": "uvicorn", "hypercorn": "hypercorn",
		"granian": "granian", "daphne": "daphne", "waitress-serve": "waitress", "uwsgi": "uwsgi", "pyuwsgi": "uwsgi",
		"celery": "celery",
	}
}

// words splits a command line. A shell that runs one simple command is left out.
func words(line string) ([]string, bool) {
	list, err := shellquote.Split(line)
	if err != nil || len(list) == 0 {
		return nil, false
	}
	name := filepath.Base(list[0])
	if slices.Contains([]string{"sh", "bash", "dash"}, name) && len(list) == 3 && strings.HasPrefix(list[1], "-") &&
		strings.HasSuffix(list[1], "c") {
		inner := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(list[2]), "exec "))
		if !strings.ContainsAny(inner, "|&;<>$`(){}*~\n") && !assignment.MatchString(inner) {
			if simple, err := shellquote.Split(inner); err == nil && len(simple) > 0 {
				return simple, true
			}
		}
	}
	return list, true
}

// importCommand takes out of a command what superctl does by itself, and makes its paths relative
// to the app's directory. dir may be "".
func importCommand(line, dir string) *command {
	list, ok := words(line)
	if !ok {
		return &command{words: strings.Fields(line)}
	}
	c := &command{dir: dir}
	known := knownPrograms()
	at := -1
	for i, w := range list {
		if server := known[filepath.Base(w)]; server != "" && i < 6 {
			at, c.server = i, server
			break
		}
	}
	if at < 0 {
		c.words = list
		c.relative()
		return c
	}
	if at > 0 && (slices.Contains([]string{"run", "exec"}, list[at-1]) || filepath.Base(list[0]) == "uv" ||
		filepath.Base(list[0]) == "poetry" || filepath.Base(list[0]) == "pipenv") {
		c.note("without %s: %s", strings.Join(list[:at], " "), inVenv)
		list, at = list[at:], 0
	}
	c.words = append([]string{}, list[:at+1]...)
	c.options(list[at+1:])
	c.endpoint()
	c.relative()
	return c
}

// options takes out the options that superctl makes unnecessary.
func (c *command) options(args []string) {
	table := serverOptions(c.server)
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			c.words = append(c.words, args[i:]...)
			return
		}
		o, name, value, joined := findOption(table, word)
		if o == nil || c.words[0] == systemUWSGI && needsIt(name) {
			c.words = append(c.words, word)
			continue
		}
		if o.value && !joined && i+1 < len(args) && (!strings.HasPrefix(args[i+1], "-") || o.what == isAddress) {
			i++
			value = args[i]
		}
		c.take(o, name, value)
	}
}

// findOption returns the option that a word names, and the value if that is joined to it; nil = none.
func findOption(table []option, word string) (o *option, name, value string, joined bool) {
	name, value, joined = strings.Cut(word, "=")
	at := slices.IndexFunc(table, func(o option) bool { return slices.Contains(o.names, name) })
	if at < 0 && len(word) > 2 && word[0] == '-' && word[1] != '-' { // -w4, -b127.0.0.1:8000
		name, value, joined = word[:2], word[2:], true
		at = slices.IndexFunc(table, func(o option) bool { return o.value && slices.Contains(o.names, name) })
	}
	if at < 0 {
		return nil, name, value, joined
	}
	return &table[at], name, value, joined
}

// take does what an option says.
func (c *command) take(o *option, name, value string) {
	switch o.what {
	case isAddress:
		c.sets = append(c.sets, address{value})
		if c.server == "uwsgi" {
			c.uwsgi = slices.Contains([]string{"--socket", "-s", "--uwsgi-socket"}, name)
		}
		c.note("%s is listen.address", name)
	case isPath:
		c.sets = append(c.sets, address{"unix:" + value})
		c.note("%s is listen.address", name)
	case isHost:
		c.host = value
		c.note("%s is listen.address", name)
	case isPort:
		c.port = value
		c.note("%s is listen.address", name)
	case isMode:
		c.mode = value
		c.note("%s is listen.mode", name)
	case isUser:
		c.user = value
		c.note("%s is the user", name)
	case isDir:
		c.changeDir(o, name, value)
	case isSelf:
		c.note("without %s: %s", name, o.because)
	case isGone:
		c.note("left out: %s: %s", name, o.because)
	}
}

// changeDir takes an option that sets the directory. A directory inside the release stays in the command.
func (c *command) changeDir(o *option, name, value string) {
	if !filepath.IsAbs(value) && value != "." && value != "" {
		c.words = append(c.words, name, value)
		return
	}
	if c.dir == "" && filepath.IsAbs(value) {
		c.dir = value
	}
	c.note("without %s: %s", name, o.because)
}

// defaultPort returns the port of a server whose options name only a host.
func defaultPort(server string) string {
	if server == "waitress" {
		return "8080"
	}
	return "8000"
}

// endpoint makes an address of a host and a port.
func (c *command) endpoint() {
	if c.host != "" || c.port != "" {
		host, port := c.host, c.port
		if host == "" || host == "localhost" {
			host = "127.0.0.1"
		}
		if port == "" {
			port = defaultPort(c.server)
		}
		if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
			host = "[" + host + "]"
		}
		c.sets = append(c.sets, address{host + ":" + port})
	}
}

// relative makes paths in the app's directory relative, and programs of its virtualenv bare names.
func (c *command) relative() {
	for i, w := range c.words {
		if knownPrograms()[filepath.Base(w)] != "" || i == 0 && ofVirtualenv(w) {
			c.words[i] = filepath.Base(w)
			continue
		}
		if c.dir != "" && len(c.dir) > 1 {
			if rest, ok := strings.CutPrefix(w, strings.TrimSuffix(c.dir, "/")+"/"); ok {
				c.words[i] = rest
			}
		}
	}
}

// ofVirtualenv reports whether a path is that of a program in a virtualenv: /srv/shop/venv/bin/python
// or .venv/bin/python.
func ofVirtualenv(path string) bool {
	if !filepath.IsAbs(path) {
		return strings.HasSuffix(filepath.Dir(path), "bin")
	}
	system := strings.HasPrefix(path, "/bin/") || strings.HasPrefix(path, "/usr/") || strings.HasPrefix(path, "/sbin/")
	return filepath.Base(filepath.Dir(path)) == "bin" && !system
}

// text returns the command as the config writes it.
func (c *command) text() string { return joinWords(c.words) }

// joinWords returns words as the config writes them. It leaves placeholders in braces as they are.
func joinWords(list []string) string {
	quoted := make([]string, len(list))
	for i, w := range list {
		quoted[i] = w
		if w == "" || strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./{}^-") != "" {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// addProcess makes a process of a command line.
func (r *report) addProcess(name, line string) (*setup.Process, *command) {
	c := importCommand(line, r.out.Dir)
	r.systemUWSGI = r.systemUWSGI || strings.HasPrefix(line, systemUWSGI)
	p := r.process(name)
	p.Command = c.text()
	if c.dir != "" && r.out.Dir == "" {
		r.out.Dir = c.dir
	}
	if c.user != "" && r.out.User == "" {
		r.out.User = c.user
	}
	for _, a := range c.sets {
		at := normalAddress(a.text, r.out.Dir)
		if at == "" {
			c.note("no address of superctl's: %s", a.text)
			continue
		}
		l := r.listen(p, at)
		if c.mode != "" && strings.HasPrefix(at, "unix:") {
			r.listenerMode(l, c.mode)
		}
	}
	if c.server == "uwsgi" && c.uwsgi && len(p.Listen) == 1 {
		p.Command += " --socket fd://3"
	}
	return p, c
}

// listenerMode sets the mode of a unix socket.
func (r *report) listenerMode(name, mode string) {
	if !digits(mode) || len(mode) > 4 {
		return
	}
	for i := range r.out.Listen {
		if r.out.Listen[i].Name == name {
			r.out.Listen[i].Mode = fmt.Sprintf("%04s", mode)
		}
	}
}
