package importer

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"superctl/config"
	"superctl/redact"
	"superctl/setup"
)

// File is a file to import.
type File struct{ Path, Text string }

// Source reads further files that an imported one names.
type Source struct {
	Name string // of the unit, for an instance of a template; "" = as the first file is called
	// Open returns the text of a file; nil = no further file is read.
	Open func(path string) (string, error)
	// OpenProject is Open for a file of the project that no imported file names, such as a Procfile. Its
	// owner must not be able to have another user's file read. nil = no such file is read.
	OpenProject func(path string) (string, error)
}

// Kind is a kind of file.
type Kind string

// The kinds of files.
const (
	Unit       Kind = "systemd unit"
	Supervisor Kind = "supervisord.conf"
	Circus     Kind = "circus.ini"
	Procfile   Kind = "Procfile"
	Gunicorn   Kind = "gunicorn.conf.py"
	UWSGI      Kind = "uwsgi.ini"
	Kamal      Kind = "Kamal's deploy.yml"
)

// KindOf returns the kind of a file by its name and its text, or "".
func KindOf(f File) Kind {
	base, ext := filepath.Base(f.Path), filepath.Ext(f.Path)
	has := func(headings ...string) bool {
		return slices.ContainsFunc(headings, func(h string) bool { return strings.Contains("\n"+f.Text, "\n"+h) })
	}
	switch {
	case ext == ".service", ext == ".socket", has("[Service]", "[Socket]"):
		return Unit
	case strings.HasPrefix(base, "Procfile"):
		return Procfile
	case has("[watcher:", "[circus]"):
		return Circus
	case has("[program:", "[supervisord]", "[fcgi-program:"):
		return Supervisor
	case has("[uwsgi]"):
		return UWSGI
	case ext == ".py":
		return Gunicorn
	case (ext == ".yml" || ext == ".yaml") && has("service:"):
		return Kamal
	}
	return ""
}

// errUnknown is a file of no known kind.
var errUnknown = errors.New("not a systemd unit, supervisord.conf, circus.ini, Procfile, gunicorn.conf.py, " +
	"uwsgi.ini or Kamal deploy.yml")

// Read imports files that belong together: a unit with its drop-ins, or one file of another kind.
func (s Source) Read(files ...File) (*setup.Import, error) {
	if len(files) == 0 {
		return nil, errUnknown
	}
	r := &report{source: s, out: &setup.Import{}}
	switch kind := KindOf(files[0]); kind {
	case Unit:
		r.units(files)
	case Supervisor:
		r.supervisor(files[0])
	case Circus:
		r.circus(files[0])
	case Procfile:
		r.procfile(files[0])
	case Gunicorn:
		r.gunicorn(files[0])
	case UWSGI:
		r.uwsgi(files[0])
	case Kamal:
		if err := r.kamal(files[0]); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s: %w", files[0].Path, errUnknown)
	}
	r.finish()
	return r.out, nil
}

// report collects the result of an import.
type report struct {
	source Source
	out    *setup.Import

	values       map[string]string // of a unit's environment files
	placeholders map[string]bool   // of a uwsgi.ini
	systemUWSGI  bool              // the command is Debian's uWSGI, which has Python as a plugin
}

// finish moves secrets out of the variables, and out of the report.
func (r *report) finish() {
	o := r.out
	r.out.Processes = slices.DeleteFunc(r.out.Processes, func(p setup.Process) bool {
		return p.Command == "" && p.Name != "web" // a unit's settings may come before its command
	})
	o.Env = slices.DeleteFunc(o.Env, func(v setup.Variable) bool {
		if !redact.IsSecret(v.Name, v.Value) {
			return false
		}
		o.Secrets = append(o.Secrets, v)
		return true
	})
	for i := range o.Processes {
		p := &o.Processes[i]
		p.Env = slices.DeleteFunc(p.Env, func(v setup.Variable) bool {
			if !redact.IsSecret(v.Name, v.Value) {
				return false
			}
			o.Secrets = append(o.Secrets, v)
			return true
		})
	}
	r.mergeEnvFiles()
	var secrets redact.Secrets
	for _, v := range o.Secrets {
		secrets.Secret(v.Value)
	}
	redactor := secrets.Redactor()
	for i := range o.Lines {
		o.Lines[i].Text = redactor.Text(o.Lines[i].Text)
	}
	slices.SortStableFunc(o.Lines, func(a, b setup.Line) int {
		if a.File != b.File {
			return 0
		}
		return a.From - b.From
	})
}

// secretSetting matches settings whose value is a secret.
var secretSetting = regexp.MustCompile(`(?i)password|passwd|secret|token|api_?key`)

func (r *report) line(d directive, v setup.Verdict, key, why string) {
	if d.value != "" && secretSetting.MatchString(d.key) {
		d.text = d.key + " = ***"
	}
	r.out.Lines = append(r.out.Lines, setup.Line{
		File: d.file, From: d.from, To: d.to, Text: d.text, Verdict: v, Key: key, Why: why,
	})
}

func (r *report) kept(d directive, key string, why ...string) {
	r.line(d, setup.Kept, key, strings.Join(why, "; "))
}
func (r *report) builtIn(d directive, why string) { r.line(d, setup.BuiltIn, "", why) }
func (r *report) dropped(d directive, why string) { r.line(d, setup.Dropped, "", why) }

// process returns the process of that name, which it adds if there is none.
func (r *report) process(name string) *setup.Process {
	name = itemName(name)
	for i := range r.out.Processes {
		if r.out.Processes[i].Name == name {
			return &r.out.Processes[i]
		}
	}
	r.out.Processes = append(r.out.Processes, setup.Process{Name: name})
	return &r.out.Processes[len(r.out.Processes)-1]
}

// itemName returns a valid name of a process.
func itemName(text string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			return c
		case c == '.' || c == ' ' || c == '@' || c == ':' || c == '/':
			return '-'
		}
		return -1
	}, text)
	name = strings.Trim(name[:min(len(name), 32)], "-")
	if name == "" {
		return "web"
	}
	return name
}

// key sets a key of a process, once.
func setKey(p *setup.Process, name, toml string) {
	p.Keys = slices.DeleteFunc(p.Keys, func(k setup.Key) bool { return k.Name == name })
	p.Keys = append(p.Keys, setup.Key{Name: name, TOML: toml})
}

// listen gives a process the listener of an address, and returns the listener's name.
func (r *report) listen(p *setup.Process, address string) string {
	i := slices.IndexFunc(r.out.Listen, func(l setup.Listener) bool { return l.Address == address })
	if i < 0 {
		name := p.Name
		for n := 2; slices.ContainsFunc(r.out.Listen, func(l setup.Listener) bool { return l.Name == name }); n++ {
			name = fmt.Sprintf("%.28s-%d", p.Name, n)
		}
		r.out.Listen = append(r.out.Listen, setup.Listener{Name: name, Address: address})
		i = len(r.out.Listen) - 1
	}
	if name := r.out.Listen[i].Name; !slices.Contains(p.Listen, name) {
		p.Listen = append(p.Listen, name)
	}
	return r.out.Listen[i].Name
}

// setVariable adds a variable, or changes the one of that name.
func setVariable(list []setup.Variable, name, value string) []setup.Variable {
	for i := range list {
		if list[i].Name == name {
			list[i].Value = value
			return list
		}
	}
	return append(list, setup.Variable{Name: name, Value: value})
}

// mergeEnvFiles makes the variables of a unit's environment files secrets of the import: systemd
// reads such files as root, and superctl as the app's user. As in systemd, they win over variables
// of the unit. A file that cannot be read stays where it is.
func (r *report) mergeEnvFiles() {
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		r.out.Env = slices.DeleteFunc(r.out.Env, func(v setup.Variable) bool { return v.Name == name })
		r.out.Secrets = setVariable(r.out.Secrets, name, r.values[name])
	}
}

// openEnvFile reads a file of variables. It reports whether that could be done.
func (r *report) openEnvFile(path string) bool {
	if r.source.Open == nil {
		return false
	}
	text, err := r.source.Open(path)
	return err == nil && r.readEnvText(path, text)
}

// readEnvText takes over the variables of a file.
func (r *report) readEnvText(path, text string) bool {
	vars, _, err := config.ParseEnvFile(path, []byte(text))
	if err != nil {
		return false
	}
	if r.values == nil {
		r.values = map[string]string{}
	}
	maps.Copy(r.values, vars)
	return true
}
