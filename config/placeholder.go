package config

import (
	"fmt"
	"slices"
	"strings"

	"superctl/supervisor/worker"
)

// everywhere returns the placeholders of all workers.
func everywhere() []string {
	return []string{"release", "commit", "generation", "process", "instance", "scratch"}
}

// placeholders refuses unknown placeholders in a text for a program with these listeners.
func (l *loader) placeholders(key, text string, listen []string) {
	known := everywhere()
	for _, name := range listen {
		known = append(known, "fd."+name, "addr."+name)
	}
	_, unknown := worker.Expand(text, func(name string) (string, bool) { return "", slices.Contains(known, name) })
	if unknown == "" {
		return
	}
	kind, listener, dotted := strings.Cut(unknown, ".")
	switch {
	case dotted && (kind == "fd" || kind == "addr") && len(listen) == 0:
		l.at(key,
			"{%s} is for a process with listen = [%q]: write it in its command, or in its own table of variables "+
				"([process.NAME.env])", unknown, listener)
	case dotted && (kind == "fd" || kind == "addr"):
		l.at(key, "{%s} names no listener of this process, whose listen is %s", unknown, quotedList(listen))
	default:
		l.at(key, "unknown placeholder {%[1]s}: there are %[2]s; write {{%[1]s}} for the text {%[1]s}", unknown,
			braced(known))
	}
}

func quotedList(names []string) string { return fmt.Sprintf("%q", names) }

func braced(names []string) string { return "{" + strings.Join(names, "}, {") + "}" }
