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
	u := &uwsgiImport{
		report: r, into: r.process(name), fates: uwsgiFates(), args: append([]string{"uwsgi"}, more...), http: true,
	}
	for _, d := range list {
		u.setting(d)
	}
	if len(u.into.Listen) > 0 && !u.http {
		u.args = append(u.args, "--socket", "fd://3")
	}
	c := &command{words: u.args, dir: r.out.Dir}
	c.relative()
	u.into.Command = joinWords(c.words)
}

// uwsgiImport is a uwsgi.ini that is being imported.
type uwsgiImport struct {
	*report
	into  *setup.Process
	fates []option // what becomes of the options that superctl knows
	args  []string // the words of the command
	http  bool     // the listener speaks HTTP, and not uWSGI's protocol
}

// maxValue is the length up to which a value is expanded.
const maxValue = 4096

func uwsgiFates() []option {
	return append(serverOptions("uwsgi"), option{[]string{"--logger", "--log-4xx", "--log-5xx"}, true, isSelf, "superctl logs"})
}

// setting imports one setting.
func (u *uwsgiImport) setting(d directive) {
	name := "--" + d.key
	known := slices.IndexFunc(u.fates, func(o option) bool { return slices.Contains(o.names, name) })
	switch {
	case d.section != "uwsgi":
		u.dropped(d, "superctl init reads the section [uwsgi] alone")
	case d.key == "env":
		u.variable(d)
	case known >= 0 && u.known(d, u.fates[known]): // that is all
	case slices.Contains([]string{"set-placeholder", "set", "set-ph"}, d.key), !optionName(d.key), u.placeholders[d.key]:
		u.builtIn(d, "a variable of the file, replaced where it is used")
	case slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(d.value)):
		u.builtIn(d, "off is the default")
	default:
		u.option(d)
	}
}

// variable imports an environment variable of the workers.
func (u *uwsgiImport) variable(d directive) {
	k, v, _ := strings.Cut(d.value, "=")
	u.out.Env = setVariable(u.out.Env, k, v)
	if redact.IsSecret(k, v) {
		d.text = "env = " + k + "=***"
	}
	u.kept(d, "env."+k)
}

// option makes a setting an option of the command. One that is only switched on has no value there.
func (u *uwsgiImport) option(d directive) {
	u.args = append(u.args, "--"+d.key)
	on := slices.Contains([]string{"true", "on", "yes", "1"}, strings.ToLower(d.value))
	if !on || slices.Contains([]string{"processes", "workers", "threads"}, d.key) {
		u.args = append(u.args, d.value)
	}
	u.kept(d, "process.web.command")
}

// known imports a setting that superctl knows as an option. It reports whether the setting is done
// with; otherwise it is treated like any other.
func (u *uwsgiImport) known(d directive, o option) bool {
	switch o.what {
	case isAddress:
		address := normalAddress(d.value, u.out.Dir)
		if address == "" {
			u.dropped(d, "not an address of superctl's: use --address")
			break
		}
		u.kept(d, "listen."+u.listen(u.into, address)+".address")
		u.http = u.http && !slices.Contains([]string{"socket", "s", "uwsgi-socket"}, d.key)
	case isMode:
		for i := range u.out.Listen {
			u.listenerMode(u.out.Listen[i].Name, d.value)
		}
		u.kept(d, "listen.web.mode")
	case isUser:
		if d.value != "root" {
			u.out.User = d.value
		}
		u.kept(d, "drop-in: User=")
	case isDir:
		if !filepath.IsAbs(d.value) && d.value != "." {
			return false
		}
		u.builtIn(d, o.because)
	case isGone:
		u.dropped(d, o.because)
	case isSelf:
		if u.systemUWSGI && needsIt("--"+d.key) {
			return false
		}
		u.builtIn(d, o.because)
	default:
		return false
	}
	return true
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
