package setup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Config returns the text of the app's config.
func (s *Site) Config() string {
	w := &tomlWriter{}
	w.line("# %s: how superctl runs %s. Written by superctl init; yours to edit.", ConfigPath(s.App), s.App)
	w.line("# superctl check says what is wrong with it, docs/config.md explains every key.")
	w.keys([]Key{
		{"app", tomlString(s.App), ""},
		{"releases", tomlString(s.Releases), "a directory for each release, with its own venv/ or .venv/"},
		{"current", tomlString(s.Current), "superctl makes this link follow the live release"},
		{"standby", `"5m"`, "keep the previous release running this long, for an instant rollback"},
	})
	if s.EnvFile != "" {
		w.keys([]Key{{"env_file", tomlString(s.EnvFile), "secrets"}})
	}
	if s.Keep > 0 {
		w.keys([]Key{{"keep", strconv.Itoa(s.Keep), ""}})
	}
	for _, l := range s.Listen {
		w.table("listen." + tomlKey(l.Name))
		w.keys([]Key{{"address", tomlString(l.Address), ""}})
		w.optional("mode", l.Mode, "")
		w.optional("group", l.Group, "nginx's")
	}
	for _, p := range s.Processes {
		w.process(p)
	}
	if len(s.Before) > 0 {
		w.table("hooks")
		w.keys([]Key{{"before", tomlList(s.Before), "they run before a new release starts"}})
	}
	w.variables("env", s.Env)
	w.files(s)
	return w.b.String()
}

// tomlWriter writes a config.
type tomlWriter struct{ b strings.Builder }

func (w *tomlWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *tomlWriter) table(name string) { fmt.Fprintf(&w.b, "\n[%s]\n", name) }

func (w *tomlWriter) keys(keys []Key) {
	for _, k := range keys {
		if k.Comment != "" {
			w.line("%s = %s # %s", k.Name, k.TOML, k.Comment)
			continue
		}
		w.line("%s = %s", k.Name, k.TOML)
	}
}

// files writes what releases share and publish.
func (w *tomlWriter) files(s *Site) {
	if len(s.Shared) > 0 {
		w.table("shared")
		w.line("# links in each release to what all releases share")
		for _, sh := range s.Shared {
			w.keys([]Key{{tomlKey(sh.Path), tomlString(sh.Target), ""}})
		}
	}
	if s.Assets != nil {
		w.table("assets")
		w.line("# nginx serves the files of all kept releases, so that pages of the old release find theirs")
		w.line("static = { from = %s, to = %s }", tomlString(s.Assets.From), tomlString(s.Assets.To))
	}
}

func (w *tomlWriter) optional(key, value, comment string) {
	if value != "" {
		w.keys([]Key{{key, tomlString(value), comment}})
	}
}

func (w *tomlWriter) process(p Process) {
	name := "process." + tomlKey(p.Name)
	w.table(name)
	w.keys([]Key{{"command", tomlString(p.Command), p.Comment}})
	if len(p.Listen) > 0 {
		w.keys([]Key{{"listen", tomlList(p.Listen), ""}})
	}
	w.keys(p.Keys)
	w.variables(name+".env", p.Env)
	if len(p.Health) > 0 {
		w.table(name + ".health")
		w.keys(p.Health)
	}
}

func (w *tomlWriter) variables(table string, list []Variable) {
	if len(list) == 0 {
		return
	}
	w.table(table)
	for _, v := range list {
		w.keys([]Key{{tomlKey(v.Name), tomlString(v.Value), ""}})
	}
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// tomlKey returns a key as TOML writes it.
func tomlKey(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return tomlString(key)
}

// tomlString returns a basic string of TOML.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, text := range list {
		quoted[i] = tomlString(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
