package importer

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/redact"
	"superctl/setup"
)

// uwsgi imports a uwsgi.ini: its options become those of the command, because most of such files
// have options that would defeat a switch.
func (r *report) uwsgi(f File) {
	r.uwsgiProcess(f, "web", nil)
	r.oneApp(f.Path)
}

// uwsgiFiles imports the ini files that uWSGI's commands name. One that cannot be read stays in its
// command.
func (r *report) uwsgiFiles() {
	for _, p := range slices.Clone(r.out.Processes) {
		words, err := shellquote.Split(p.Command)
		if err != nil || len(words) < 2 || filepath.Base(words[0]) != "uwsgi" || r.source.Open == nil {
			continue
		}
		at := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, ".ini") })
		if at < 0 {
			continue
		}
		path, before := words[at], words[1:at]
		if at > 1 && words[at-1] == "--ini" {
			before = words[1 : at-1]
		}
		path = strings.TrimPrefix(path, "--ini=")
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.out.Dir, path)
		}
		if text, err := r.source.Open(path); err == nil {
			r.uwsgiProcess(File{path, text}, p.Name, slices.Concat(before, words[at+1:]))
		}
	}
}

// uwsgiProcess imports a uwsgi.ini as a process of that name. more are further words of its command.
func (r *report) uwsgiProcess(f File, name string, more []string) {
	if dir := filepath.Dir(f.Path); filepath.IsAbs(dir) && !strings.HasPrefix(dir, "/etc") && r.out.Dir == "" {
		r.out.Dir = dir
	}
	list := syntax{comments: ";#", separators: "="}.scan(f.Path, f.Text)
	variables := map[string]string{}
	r.placeholders = placeholders(f.Text)
	for i := range list {
		d := &list[i]
		if d.key == "" { // an option without a value
			d.key, d.value = strings.TrimSpace(d.text), "true"
		}
		d.key = strings.ReplaceAll(d.key, "_", "-")
		for name, value := range variables {
			if len(d.value) < maxValue && len(value) < maxValue { // values may refer to one another
				d.value = strings.ReplaceAll(d.value, "%("+name+")", value)
			}
		}
		d.value = strings.NewReplacer("%d", filepath.Dir(f.Path)+"/", "%n", "", "%p", f.Path).Replace(d.value)
		variables[d.key] = d.value
		if d.section == "uwsgi" && d.key == "chdir" && filepath.IsAbs(d.value) {
			r.out.Dir = filepath.Clean(d.value)
		}
	}
	table := uwsgiFates()
	args := append([]string{"uwsgi"}, more...)
	p := r.process(name)
	http := true
	for _, d := range list {
		args, http = r.uwsgiSetting(d, p, table, args, http)
	}
	if len(p.Listen) > 0 && !http {
		args = append(args, "--socket", "fd://3")
	}
	c := &command{words: args, dir: r.out.Dir}
	c.relative()
	p.Command = joinWords(c.words)
}

// maxValue is the length up to which a value is expanded.
const maxValue = 4096

func uwsgiFates() []option {
	return append(serverOptions("uwsgi"), option{[]string{"--logger", "--log-4xx", "--log-5xx"}, true, isSelf, "superctl logs"})
}

// uwsgiSetting imports one setting. It returns the words of the command, and whether the listener
// speaks HTTP.
func (r *report) uwsgiSetting(d directive, p *setup.Process, table []option, args []string, http bool) ([]string, bool) {
	name := "--" + d.key
	off := slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(d.value))
	on := slices.Contains([]string{"true", "on", "yes", "1"}, strings.ToLower(d.value))
	at := slices.IndexFunc(table, func(o option) bool { return slices.Contains(o.names, name) })
	if at >= 0 && d.section == "uwsgi" && d.key != "env" {
		if http, done := r.uwsgiKnown(d, p, table[at], http); done {
			return args, http
		}
	}
	switch {
	case d.section != "uwsgi":
		r.dropped(d, "superctl init reads the section [uwsgi] alone")
	case d.key == "env":
		k, v, _ := strings.Cut(d.value, "=")
		r.out.Env = setVariable(r.out.Env, k, v)
		if redact.IsSecret(k, v) {
			d.text = "env = " + k + "=***"
		}
		r.kept(d, "env."+k)
	case d.key == "set-placeholder" || d.key == "set" || d.key == "set-ph" || !optionName(d.key) || r.placeholders[d.key]:
		r.builtIn(d, "a variable of the file, replaced where it is used")
	case off:
		r.builtIn(d, "off is the default")
	default:
		args = append(args, name)
		if !on || d.key == "processes" || d.key == "workers" || d.key == "threads" {
			args = append(args, d.value)
		}
		r.kept(d, "process.web.command")
	}
	return args, http
}

// uwsgiKnown imports a setting that superctl knows as an option. It returns whether the listener
// speaks HTTP, and whether the setting is done with.
func (r *report) uwsgiKnown(d directive, p *setup.Process, o option, http bool) (speaksHTTP, done bool) {
	switch o.what {
	case isAddress:
		address := normalAddress(d.value, r.out.Dir)
		if address == "" {
			r.dropped(d, "not an address of superctl's: use --address")
			break
		}
		r.kept(d, "listen."+r.listen(p, address)+".address")
		http = http && !slices.Contains([]string{"socket", "s", "uwsgi-socket"}, d.key)
	case isMode:
		for i := range r.out.Listen {
			r.listenerMode(r.out.Listen[i].Name, d.value)
		}
		r.kept(d, "listen.web.mode")
	case isUser:
		if d.value != "root" {
			r.out.User = d.value
		}
		r.kept(d, "drop-in: User=")
	case isDir:
		if !filepath.IsAbs(d.value) && d.value != "." {
			return http, false
		}
		r.builtIn(d, o.because)
	case isGone:
		r.dropped(d, o.because)
	case isSelf:
		if r.systemUWSGI && needsIt("--"+d.key) {
			return http, false
		}
		r.builtIn(d, o.because)
	default:
		return http, false
	}
	return http, true
}

// systemUWSGI is the uWSGI of Debian's packages. pip's has Python built in.
const systemUWSGI = "/usr/bin/uwsgi"

// needsIt reports whether systemUWSGI needs an option that pip's uWSGI does not: it is not in the
// virtualenv.
func needsIt(option string) bool {
	return slices.Contains([]string{"--plugin", "--plugins", "--home", "-H", "--virtualenv", "--venv", "--pyhome"}, option)
}

func optionName(key string) bool {
	return key != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

var reference = regexp.MustCompile(`%\(([\w-]+)\)`)

// placeholders returns the names that a file refers to and that are no options of uWSGI.
func placeholders(text string) map[string]bool {
	options := []string{
		"module", "chdir", "home", "virtualenv", "socket", "http", "http-socket", "processes", "workers", "threads", "uid",
		"gid", "wsgi-file", "callable", "pidfile", "stats", "logto", "daemonize", "env", "pythonpath",
	}
	found := map[string]bool{}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if name := strings.ReplaceAll(m[1], "_", "-"); !slices.Contains(options, name) {
			found[name] = true
		}
	}
	return found
}
