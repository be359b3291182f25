package servers

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
)

// Binding is the option that makes a server listen on its own address.
type Binding struct {
	Text string // as written, such as "--bind 0.0.0.0:80"
	From string // "" = the command; otherwise the place, such as "common.ini:3" or a variable's name
}

// FindBinding finds the option that names an address on which a worker listens: "127.0.0.1:8000",
// "[::]:8000" or "unix:/run/app.sock". It searches the process's command, its config files and
// variables, and the command that is running.
func FindBinding(in Input, running []string, address string) (Binding, bool) {
	options := Apply(in).options
	at := find(running)
	for _, w := range running[min(max(at, 0)+1, len(running)):] {
		options = append(options, word{text: w})
	}
	wanted := valueNames(address)
	for i, w := range options {
		option, value, isOption := strings.Cut(w.text, "=")
		if !isOption || !strings.HasPrefix(option, "-") {
			value = w.text
		}
		if !wanted(value) {
			continue
		}
		b := Binding{Text: w.text, From: w.from}
		if b.From != "" && strings.HasPrefix(b.Text, "--") { // a setting of a file
			b.Text = strings.TrimPrefix(option, "--")
		}
		valued := i > 0 && strings.HasPrefix(options[i-1].text, "-") && options[i-1].from == w.from
		if valued && !strings.HasPrefix(w.text, "-") {
			b.Text = options[i-1].text + " " + w.text
		}
		return b, true
	}
	return Binding{}, false
}

// valueNames returns a function that reports whether an option's value names the address.
func valueNames(address string) func(value string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return func(value string) bool {
			value = strings.TrimPrefix(strings.TrimPrefix(value, "-b"), "unix:")
			name, _, _ := strings.Cut(value, ",")
			return name == path ||
				name != "" && !strings.HasPrefix(path, "@") && filepath.Base(name) == filepath.Base(path)
		}
	}
	_, port, err := net.SplitHostPort(address)
	return func(value string) bool {
		if err != nil {
			return false
		}
		parts := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ,'\"[]=", r) })
		return value == port ||
			slices.ContainsFunc(parts, func(one string) bool { return strings.HasSuffix(one, ":"+port) })
	}
}

// ServerOf returns the server that a command line runs, or "" if it is unknown.
func ServerOf(command []string) string {
	if at := find(command); at >= 0 {
		return serverOf(command[at])
	}
	return ""
}

// devServers are commands that run an app but take no listener, and what to write instead.
var devServers = []struct{ program, command, says string }{ //nolint:gochecknoglobals // a table
	{"flask", "run", "flask run takes no listener: write gunicorn MODULE:APP"},
	{"fastapi", "run", "fastapi run takes no listener: write uvicorn MODULE:APP"},
	{"fastapi", "dev", "fastapi dev takes no listener: write uvicorn MODULE:APP"},
	{"quart", "run", "quart run takes no listener: write hypercorn MODULE:APP"},
	{"manage.py", "runserver", "runserver takes no listener: write gunicorn PROJECT.wsgi"},
	{"django-admin", "runserver", "runserver takes no listener: write gunicorn PROJECT.wsgi"},
	{"-m", "http.server", "http.server takes no listener: it serves files only, which the proxy in front does better"},
	{"sanic", "", "the sanic command takes no listener here: write uvicorn MODULE:APP"},
	{"rails", "server", "rails server takes no listener: write puma"},
	{"rails", "s", "rails server takes no listener: write puma"},
}

// TakesNone returns what to write instead of a command that cannot take a listener, or "" if it
// can.
func TakesNone(command []string) string {
	for _, d := range devServers {
		for i, word := range command {
			if filepath.Base(word) == d.program && (d.command == "" || slices.Contains(command[i+1:], d.command)) {
				return d.says
			}
		}
	}
	return ""
}
