package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/setup"
)

// option is what becomes of an option of a server's command.
type option struct {
	names   []string
	value   bool // it has a value
	what    fate
	because string
}

// fate is what becomes of an option.
type fate int

const (
	isAddress fate = iota // the value is an address on which the server listens
	isHost
	isPort
	isPath // the value is the path of a unix socket
	isUser
	isMode // the value is the mode of a unix socket
	isDir  // the value is the directory of the app
	isSelf // superctl does it by itself
	isGone // it cannot stay
)

// Reasons why an option goes.
const (
	watches = "superctl watches the processes that it starts"
	reloads = "superctl switch and reload replace code"
	tls     = "TLS ends in the proxy in front"
	inVenv  = "the virtualenv is the release's"
)

// serverOptions are the options that a server's command loses, because superctl does what they do.
func serverOptions(server string) []option {
	common := []option{
		{[]string{"--pid", "--pidfile", "--pidfile2", "--safe-pidfile"}, true, isSelf, watches},
		{[]string{"--chdir"}, true, isDir, "the working directory is the release"},
	}
	switch server {
	case "gunicorn":
		return append(common, []option{
			{[]string{"--bind", "-b"}, true, isAddress, ""},
			{[]string{"-p"}, true, isSelf, watches},
			{[]string{"--daemon", "-D"}, false, isSelf, watches},
			{[]string{"--reload"}, false, isSelf, reloads},
			{[]string{"--reuse-port"}, false, isSelf, "superctl turns traffic over by itself"},
			{[]string{"--user", "-u"}, true, isUser, ""},
			{[]string{"--group", "-g"}, true, isSelf, "the group is the user's"},
			{[]string{"--umask", "-m"}, true, isGone, "UMask= in a drop-in"},
			{[]string{"--certfile", "--keyfile", "--ca-certs"}, true, isGone, tls},
			{[]string{"--backlog"}, true, isSelf, "listen.NAME.backlog is 2048"},
		}...)
	case "uvicorn":
		return append(common, []option{
			{[]string{"--host"}, true, isHost, ""},
			{[]string{"--port"}, true, isPort, ""},
			{[]string{"--uds"}, true, isPath, ""},
			{[]string{"--fd"}, true, isSelf, "superctl hands the listener over"},
			{[]string{"--reload"}, false, isSelf, reloads},
			{[]string{"--reload-dir"}, true, isSelf, reloads},
			{[]string{"--ssl-keyfile", "--ssl-certfile"}, true, isGone, tls},
			{[]string{"--backlog"}, true, isSelf, "listen.NAME.backlog is 2048"},
		}...)
	case "hypercorn":
		return append(common, []option{
			{[]string{"--bind", "-b"}, true, isAddress, ""},
			{[]string{"-p"}, true, isSelf, watches},
			{[]string{"--daemon", "-D"}, false, isSelf, watches},
			{[]string{"--reload"}, false, isSelf, reloads},
			{[]string{"--user", "-u"}, true, isUser, ""},
			{[]string{"--certfile", "--keyfile"}, true, isGone, tls},
		}...)
	case "granian", "daphne":
		return append(common, []option{
			{[]string{"--host", "-b", "--bind"}, true, isHost, ""},
			{[]string{"--port", "-p"}, true, isPort, ""},
			{[]string{"-u", "--unix-socket", "--uds"}, true, isPath, ""},
			{[]string{"--reload"}, false, isSelf, reloads},
			{[]string{"--fd"}, true, isSelf, "superctl hands the listener over"},
			{[]string{"--ssl-keyfile", "--ssl-certificate"}, true, isGone, tls},
		}...)
	case "waitress":
		return append(common, []option{
			{[]string{"--listen"}, true, isAddress, ""},
			{[]string{"--host"}, true, isHost, ""},
			{[]string{"--port"}, true, isPort, ""},
			{[]string{"--unix-socket"}, true, isPath, ""},
			{[]string{"--unix-socket-perms"}, true, isMode, ""},
		}...)
	case "uwsgi":
		return append(common, uwsgiOptions()...)
	case "celery":
		return append(common, []option{
			{[]string{"--detach", "-D"}, false, isSelf, watches},
			{[]string{"--workdir"}, true, isDir, "the working directory is the release"},
			{[]string{"--uid"}, true, isUser, ""},
			{[]string{"--gid"}, true, isSelf, "the group is the user's"},
		}...)
	}
	return nil
}

// uwsgiOptions are the options that uWSGI's command loses.
func uwsgiOptions() []option {
	return []option{
		{[]string{"--http-socket", "--http", "--http11-socket", "--socket", "-s", "--uwsgi-socket"}, true, isAddress, ""},
		{[]string{"--chmod-socket", "-C"}, true, isMode, ""},
		{[]string{"--chown-socket"}, true, isSelf, "superctl owns the socket"},
		{[]string{"--uid"}, true, isUser, ""},
		{[]string{"--gid"}, true, isSelf, "the group is the user's"},
		{[]string{"--chdir2"}, true, isDir, "the working directory is the release"},
		{[]string{"--home", "-H", "--virtualenv", "--venv", "--pyhome"}, true, isSelf, inVenv},
		{[]string{"--daemonize", "--daemonize2", "-d"}, true, isSelf, watches},
		{[]string{"--logto", "--logto2"}, true, isSelf, "its output is in superctl logs and in the journal"},
		{[]string{"--master", "-M"}, false, isSelf, "superctl adds it"},
		{[]string{"--need-app"}, false, isSelf, "superctl adds it"},
		{[]string{"--vacuum"}, false, isSelf, "superctl removes its sockets"},
		{[]string{"--die-on-term"}, false, isSelf, "superctl has it finish its requests"},
		{[]string{"--reuse-port", "--no-orphans"}, false, isSelf, "superctl does it by itself"},
		{[]string{"--listen", "-l"}, true, isSelf, "listen.NAME.backlog is 2048"},
		{[]string{
			"--touch-reload", "--touch-chain-reload", "--py-autoreload", "--py-auto-reload", "--fs-reload",
			"--touch-workers-reload",
		}, true, isSelf, reloads},
		{[]string{"--plugin", "--plugins"}, true, isSelf, "pip's uWSGI has Python built in"},
		{[]string{"--https", "--https-socket"}, true, isGone, tls},
		{[]string{"--emperor"}, true, isGone, "superctl is what an emperor is: import each vassal"},
		{[]string{"--stats", "--stats-server"}, true, isGone, "two generations run at once: use a unix socket below {scratch}"},
		{
			[]string{"--fastcgi-socket", "--scgi-socket", "--suwsgi-socket", "--puwsgi-socket"},
			true, isGone,
			"superctl checks http and uwsgi sockets only",
		},
		{[]string{"--strict"}, false, isSelf, "superctl check reads the options"},
	}
}

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
		if !strings.ContainsAny(inner, "|&;<>$`(){}*\n") {
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
		name, value, joined := strings.Cut(word, "=")
		at := slices.IndexFunc(table, func(o option) bool { return slices.Contains(o.names, name) })
		if at < 0 && len(word) > 2 && word[0] == '-' && word[1] != '-' { // -w4, -b127.0.0.1:8000
			name, value, joined = word[:2], word[2:], true
			at = slices.IndexFunc(table, func(o option) bool { return o.value && slices.Contains(o.names, name) })
		}
		if at < 0 {
			c.words = append(c.words, word)
			continue
		}
		o := table[at]
		if o.value && !joined && i+1 < len(args) && (!strings.HasPrefix(args[i+1], "-") || o.what == isAddress) {
			i++
			value = args[i]
		}
		c.take(o, name, value)
	}
}

// take does what an option says.
func (c *command) take(o option, name, value string) {
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
		if c.dir == "" && filepath.IsAbs(value) {
			c.dir = value
		}
		if !filepath.IsAbs(value) && value != "." && value != "" {
			c.words = append(c.words, name, value) // below the release
			return
		}
		c.note("without %s: %s", name, o.because)
	case isSelf:
		c.note("without %s: %s", name, o.because)
	case isGone:
		c.note("left out: %s: %s", name, o.because)
	}
}

// defaults are the ports of servers that are told a host alone.
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

// normalAddress returns an address as superctl's config writes it, or "" if it is none.
func normalAddress(text, dir string) string {
	text = strings.Trim(text, `"' `)
	for _, prefix := range []string{"unix://", "unix:", "http://", "tcp://"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			text = rest
			if strings.HasPrefix(prefix, "unix") {
				text = "/" + strings.TrimLeft(text, "/")
				if !strings.HasPrefix(rest, "/") && dir != "" {
					text = filepath.Join(dir, rest)
				}
			}
			break
		}
	}
	switch {
	case text == "" || strings.ContainsAny(text, "$%{ ,") || strings.HasPrefix(text, "fd://"):
		return ""
	case strings.HasPrefix(text, "/"):
		return "unix:" + filepath.Clean(text)
	case strings.HasSuffix(text, ".sock") || strings.HasSuffix(text, ".socket"):
		if dir == "" {
			return ""
		}
		return "unix:" + filepath.Join(dir, text)
	case strings.HasPrefix(text, "*:"):
		return text[1:]
	}
	host, port, found := cutLast(text, ":")
	if !found {
		if digits(text) {
			return "127.0.0.1:" + text
		}
		host, port = text, "8000"
	}
	if !digits(port) {
		return ""
	}
	if strings.Count(host, ":") > 0 && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// relative makes paths in the app's directory relative, and programs of its virtualenv bare names.
func (c *command) relative() {
	for i, w := range c.words {
		if i == 0 || knownPrograms()[filepath.Base(w)] != "" {
			if dir := filepath.Base(filepath.Dir(w)); filepath.IsAbs(w) && dir == "bin" && !strings.HasPrefix(w, "/bin/") &&
				!strings.HasPrefix(w, "/usr/") && !strings.HasPrefix(w, "/sbin/") {
				c.words[i] = filepath.Base(w)
				continue
			}
			if knownPrograms()[filepath.Base(w)] != "" {
				c.words[i] = filepath.Base(w)
				continue
			}
			if strings.Contains(w, "/") && !filepath.IsAbs(w) && strings.HasSuffix(filepath.Dir(w), "bin") {
				c.words[i] = filepath.Base(w) // venv/bin/gunicorn, .venv/bin/python
				continue
			}
		}
		if c.dir != "" && len(c.dir) > 1 {
			if rest, ok := strings.CutPrefix(w, strings.TrimSuffix(c.dir, "/")+"/"); ok {
				c.words[i] = rest
			}
		}
	}
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
