package importer

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"superctl/setup"
)

// units imports a unit with its drop-ins, in the order in which systemd reads them.
func (r *report) units(files []File) {
	u := &unitImport{report: r}
	for _, f := range files {
		for _, part := range catParts(f) {
			list := syntax{comments: "#;", backslash: true, separators: "="}.scan(part.Path, part.Text)
			for i := range list {
				list[i].from += part.offset
				list[i].to += part.offset
			}
			u.all = append(u.all, list...)
		}
	}
	u.name(cmp.Or(r.source.Name, files[0].Path))
	u.overridden()
	for _, early := range []string{"WorkingDirectory", "User", "Environment", "EnvironmentFile"} { // commands and paths need them
		for _, d := range u.all {
			if d.key == early && d.section == "Service" && !u.done[d.id()] {
				u.service(d)
				u.done[d.id()] = true
			}
		}
	}
	for _, d := range u.all {
		if !u.done[d.id()] {
			u.directive(d)
		}
	}
	u.uwsgiFiles()
	u.procfiles()
	u.instances()
}

// unitImport is the import of a unit.
type unitImport struct {
	*report
	all  []directive
	done map[string]bool // directives that are accounted for
}

func (d directive) id() string { return d.file + ":" + strconv.Itoa(d.from) }

// part is a file in the output of `systemctl cat`.
type part struct {
	File
	offset int // lines before it
}

var catHeader = regexp.MustCompile(`(?m)^# (/[^\s]+\.(?:service|socket|conf))$`)

// catParts splits the output of `systemctl cat`.
func catParts(f File) []part {
	marks := catHeader.FindAllStringSubmatchIndex(f.Text, -1)
	if len(marks) == 0 {
		return []part{{f, 0}}
	}
	parts := []part{{File{f.Path, f.Text[:marks[0][0]]}, 0}}
	for i, m := range marks {
		end := len(f.Text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		path := f.Path // one file to the user, with one numbering of lines
		parts = append(parts, part{File{path, f.Text[m[0]:end]}, strings.Count(f.Text[:m[0]], "\n")})
	}
	return parts
}

// name takes the app's name from that of the unit.
func (u *unitImport) name(path string) {
	base := filepath.Base(path)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".service"), ".socket")
	before, instance, _ := strings.Cut(base, "@")
	if instance != "" {
		before = instance
	}
	for _, server := range []string{"gunicorn-", "uwsgi-", "uvicorn-", "gunicorn_", "uwsgi_"} {
		before = strings.TrimPrefix(before, server)
	}
	u.out.App = before
}

// lists are directives that add to each other; the last of any other counts (systemd.service(5),
// systemd.exec(5)).
func isList(key string) bool {
	return strings.HasPrefix(key, "Exec") && key != "ExecStart" || slices.Contains([]string{
		"Environment", "EnvironmentFile", "After", "Before", "Wants", "Requires", "Documentation", "ReadWritePaths",
		"ReadOnlyPaths", "LoadCredential", "SetCredential", "SupplementaryGroups", "ListenStream", "WantedBy", "BindsTo",
		"PartOf", "Alias", "PassEnvironment", "StateDirectory", "RuntimeDirectory", "LogsDirectory", "CacheDirectory",
		"BindPaths", "BindReadOnlyPaths", "ListenDatagram", "RequiresMountsFor", "LoadCredentialEncrypted",
		"SystemCallFilter", "RestrictAddressFamilies", "AmbientCapabilities", "CapabilityBoundingSet", "UnsetEnvironment",
	}, key) || strings.HasPrefix(key, "Condition") || strings.HasPrefix(key, "Assert")
}

// overridden accounts for directives that later ones take back: of a single value by the next, of a
// list by an empty one.
func (u *unitImport) overridden() {
	u.done = map[string]bool{}
	for i, d := range u.all {
		if d.key == "" {
			u.dropped(d, "not a directive")
			u.done[d.id()] = true
			continue
		}
		for _, later := range u.all[i+1:] {
			if later.key == d.key && later.section == d.section && (later.value == "" || !isList(d.key)) {
				u.dropped(masked(d), "a later line overrides it (line "+strconv.Itoa(later.from)+" of "+filepath.Base(later.file)+")")
				u.done[d.id()] = true
				break
			}
		}
		if d.value == "" && !u.done[d.id()] {
			u.builtIn(d, "empty: it resets the lines before it")
			u.done[d.id()] = true
		}
	}
}

func (u *unitImport) directive(d directive) {
	switch d.section {
	case "Service":
		u.service(d)
	case "Unit":
		u.unit(d)
	case "Socket":
		u.socket(d)
	case "Install":
		u.builtIn(d, "systemctl enable superctl@"+u.out.App)
	default:
		u.dropped(d, "superctl init does not know the section ["+d.section+"]")
	}
}

// unit imports the section [Unit].
func (u *unitImport) unit(d directive) {
	ordering := []string{
		"After", "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Before", "Conflicts", "OnFailure",
		"RequiresMountsFor", "JoinsNamespaceOf", "OnSuccess", "PropagatesReloadTo",
	}
	switch {
	case slices.Contains([]string{"Description", "Documentation", "SourcePath"}, d.key):
		u.builtIn(d, "superctl@.service has its own")
	case strings.HasPrefix(d.key, "StartLimit"):
		u.builtIn(d, "superctl starts dead workers again with back-off, without a limit")
	case slices.Contains(ordering, d.key):
		others := slices.DeleteFunc(strings.Fields(d.value), always)
		if len(others) == 0 {
			u.builtIn(d, "superctl@.service starts after the network, and superctl has the socket")
			return
		}
		u.out.Unit = append(u.out.Unit, d.key+"="+strings.Join(others, " "))
		u.kept(d, "drop-in: "+d.key+"=")
	case strings.HasPrefix(d.key, "Condition"), strings.HasPrefix(d.key, "Assert"):
		u.out.Unit = append(u.out.Unit, d.key+"="+d.value)
		u.kept(d, "drop-in: "+d.key+"=")
	case d.key == "DefaultDependencies" || d.key == "AllowIsolate" || d.key == "StopWhenUnneeded":
		u.dropped(d, "superctl@.service has the default")
	default:
		u.dropped(d, "superctl init does not know it: if you need it, put it into a drop-in")
	}
}

// always reports whether superctl@.service starts after another unit in any case, or replaces it.
func always(unit string) bool {
	return strings.HasPrefix(unit, "network") || strings.HasSuffix(unit, ".socket") ||
		slices.Contains([]string{"nss-lookup.target", "remote-fs.target", "syslog.target"}, unit)
}

// socket imports the section [Socket].
func (u *unitImport) socket(d directive) {
	p := u.process("web")
	address := func(set func(l *setup.Listener)) {
		for i := range u.out.Listen {
			set(&u.out.Listen[i])
		}
	}
	switch d.key {
	case "ListenStream":
		at := normalAddress(d.value, "")
		if at == "" || digits(d.value) {
			at = "[::]:" + d.value
		}
		u.kept(d, "listen."+u.listen(p, at)+".address", "superctl binds it itself: disable the socket unit")
	case "SocketMode":
		address(func(l *setup.Listener) { l.Mode = d.value })
		u.kept(d, "listen.web.mode")
	case "SocketGroup":
		address(func(l *setup.Listener) { l.Group = d.value })
		u.kept(d, "listen.web.group")
	case "SocketUser":
		u.builtIn(d, "the socket belongs to the app's user")
	case "Backlog":
		u.builtIn(d, "listen.web.backlog is 2048")
	case "Accept", "FileDescriptorName", "RemoveOnStop", "NoDelay", "ReusePort", "Service", "DirectoryMode", "KeepAlive":
		u.builtIn(d, "superctl opens the socket")
	default:
		u.dropped(d, "superctl has no such setting for a listener")
	}
}

// seconds parses a time of systemd (systemd.time(7)).
func seconds(text string) (time.Duration, bool) {
	text = strings.ReplaceAll(strings.TrimSpace(text), " ", "")
	if digits(text) {
		text += "s"
	}
	text = regexp.MustCompile(`seconds?|secs?`).ReplaceAllString(text, "s")
	text = regexp.MustCompile(`minutes?|mins?`).ReplaceAllString(text, "m")
	text = regexp.MustCompile(`hours?|hr`).ReplaceAllString(text, "h")
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0 && d < 24*time.Hour
}

// tomlDuration returns a duration as the config writes it.
func tomlDuration(d time.Duration) string {
	return `"` + strconv.Itoa(int(max(d, time.Second)/time.Second)) + `s"`
}

// masked returns a directive without the values of its variables.
func masked(d directive) directive {
	if d.key != "Environment" {
		return d
	}
	var names []string
	for _, kv := range environmentWords(d.value) {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name+"=***")
	}
	d.text = d.key + "=" + strings.Join(names, " ")
	return d
}

// environmentWords splits the value of Environment=.
func environmentWords(value string) []string {
	var list []string
	var b strings.Builder
	quote, escaped, began := rune(0), false, false
	for _, c := range value {
		switch {
		case escaped:
			b.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, began = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if began {
				list = append(list, b.String())
			}
			b.Reset()
			began = false
		default:
			b.WriteRune(c)
			began = true
		}
	}
	if began {
		list = append(list, b.String())
	}
	return list
}

// instances notes what a template means.
func (u *unitImport) instances() {
	for i := range u.out.Processes {
		p := &u.out.Processes[i]
		p.Command = strings.ReplaceAll(strings.ReplaceAll(p.Command, "%i", u.out.App), "%n", u.out.App)
	}
}
