// Package importer reads the configs of other supervisors and servers: units of systemd,
// supervisord.conf, circus.ini, Procfile, gunicorn.conf.py, uwsgi.ini and Kamal's deploy.yml.
//
// It accounts for every line: each is kept, or superctl does it by itself, or it is left out with a
// reason. It only reads. The values of secrets are in the result's Secrets, and in no line of the
// report.
package importer

import (
	"strings"
)

// directive is one setting of a file with lines KEY = VALUE.
type directive struct {
	file     string
	from, to int // line numbers, from 1
	section  string
	key      string
	value    string
	text     string // as written, in one line
}

// syntax is how a kind of file writes directives.
type syntax struct {
	comments   string // characters that begin a comment line
	inline     string // begins a comment behind a value; "" = nothing does
	backslash  bool   // a backslash at the end of a line continues it
	indented   bool   // a line that begins with a blank continues the one before
	separators string // between key and value, the first of them in the line
}

// scan returns the directives of a text. A line that is no directive has an empty key.
func (s syntax) scan(file, text string) (list []directive) {
	section := ""
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], "\r")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.ContainsRune(s.comments, rune(trimmed[0])):
			continue
		case s.indented && line[0] != trimmed[0] && len(list) > 0 && list[len(list)-1].section == section &&
			list[len(list)-1].key != "":
			last := &list[len(list)-1]
			// comments between are not part of the value
			last.to, last.value = i+1, last.value+"\n"+s.uncommented(trimmed)
			last.text += " " + trimmed
			continue
		case trimmed[0] == '[' && strings.Contains(trimmed, "]"):
			section = trimmed[1:strings.IndexByte(trimmed, ']')]
			continue
		}
		joined, last := s.continued(lines, i)
		d := directive{file: file, from: i + 1, to: last + 1, section: section}
		i = last
		d.text = joined
		if at := strings.IndexAny(joined, s.separators); at > 0 {
			d.key = strings.TrimSpace(joined[:at])
			d.value = s.uncommented(strings.TrimSpace(joined[at+1:]))
		}
		list = append(list, d)
	}
	return list
}

// continued returns a line with those that continue it, and the index of the last of them.
func (s syntax) continued(lines []string, i int) (joined string, last int) {
	joined = strings.TrimSpace(lines[i])
	for s.backslash && strings.HasSuffix(joined, `\`) && i+1 < len(lines) {
		i++
		next := strings.TrimSpace(lines[i])
		if next != "" && strings.ContainsRune(s.comments, rune(next[0])) {
			continue // systemd.syntax(7): a comment does not end a continued line
		}
		joined = strings.TrimSuffix(joined, `\`) + " " + next
	}
	return strings.TrimSpace(strings.TrimSuffix(joined, `\`)), i
}

// uncommented returns a value without the comment behind it.
func (s syntax) uncommented(value string) string {
	if s.inline == "" {
		return value
	}
	if before, _, found := strings.Cut(value, s.inline); found {
		return strings.TrimSpace(before)
	}
	return value
}
