package servers

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Setting is an option whose value has placeholders of its server.
type Setting struct {
	From    string // its place, such as "uwsgi.ini:3"; "" = the command
	Written string // as the user wrote it
	Option  string // such as "--pythonpath"
	Value   string // with the placeholders replaced; it may have the value of a variable, so it is not shown
}

// placeholders are the values that %(NAME) stands for in uWSGI's options: those of all options, wherever
// they are given. The first of a name counts (2.0.31, measured).
type placeholders map[string]string

// define records what the words define.
func (p placeholders) define(words []word) {
	for i, w := range words {
		key, value, has := strings.Cut(strings.TrimPrefix(w.text, "--"), "=")
		if !strings.HasPrefix(w.text, "--") {
			continue
		}
		if !has && i+1 < len(words) && words[i+1].from == w.from && !strings.HasPrefix(words[i+1].text, "-") {
			value = words[i+1].text
		}
		p.set(key, value)
		switch key {
		case "set", "set-placeholder", "set-ph":
			name, text, _ := strings.Cut(value, "=")
			p.set(name, text)
		}
	}
}

func (p placeholders) set(name, value string) {
	if _, defined := p[name]; !defined {
		p[name] = value
	}
}

const (
	deepest = 8    // how often placeholders in placeholders are replaced
	longest = 4096 // of a text in which they are, and of a value: no path is longer
)

// expand replaces %(NAME) in a text. An undefined name stays.
func (p placeholders) expand(text string) string {
	for range deepest {
		before := text
		if len(text) > longest {
			break
		}
		text = namedPlaceholder.ReplaceAllStringFunc(text, func(found string) string {
			if value, ok := p[found[2:len(found)-1]]; ok && len(value) <= longest {
				return value
			}
			return found
		})
		if text == before {
			break
		}
	}
	return text
}

var (
	namedPlaceholder    = regexp.MustCompile(`%\([^()]*\)`)
	variablePlaceholder = regexp.MustCompile(`\$\([^()]*\)`)
)

// variables replaces $(NAME) in a text by the variables of the process. An undefined name stays.
func (c *command) variables(text string) string {
	return variablePlaceholder.ReplaceAllStringFunc(text, func(found string) string {
		for _, kv := range c.in.Env {
			if value, ok := strings.CutPrefix(kv, found[2:len(found)-1]+"="); ok {
				return value
			}
		}
		return found
	})
}

// magic returns what replaces the magic variables in the text of a config file: %d its directory, %p its
// path, %s its name, %n that without the extension, %e the extension, %c the name of its directory, %x
// the section, %0 to %9 the parts of the directory's path. An uppercase letter means the same.
func magic(path, section string) *strings.Replacer {
	dir, base := filepath.Dir(path), filepath.Base(path)
	ext := filepath.Ext(base)
	pairs := []string{"%%", "%"}
	for letter, value := range map[string]string{
		"d": strings.TrimSuffix(dir, "/") + "/", "p": path, "s": base, "n": strings.TrimSuffix(base, ext),
		"e": strings.TrimPrefix(ext, "."), "c": filepath.Base(dir), "x": section,
	} {
		pairs = append(pairs, "%"+letter, value, "%"+strings.ToUpper(letter), value)
	}
	for i, part := range strings.Split(strings.Trim(dir, "/"), "/") {
		if i < 10 {
			pairs = append(pairs, "%"+strconv.Itoa(i), part)
		}
	}
	return strings.NewReplacer(pairs...)
}

// noteExpanded records the options with placeholders for Applied.Expanded, and replaces %(NAME) in them.
func (c *command) noteExpanded(values placeholders) {
	for i, w := range c.words {
		c.words[i].text = values.expand(w.text)
		text := values.expand(c.variables(c.words[i].text))
		written := w.text
		if w.written != "" {
			written = w.written
		}
		if text == written {
			continue
		}
		option, value, has := strings.Cut(text, "=")
		if !has || !strings.HasPrefix(option, "-") { // a word of the command after its option
			if value = text; i > 0 {
				option = c.words[i-1].text
			}
		}
		c.out.Expanded = append(c.out.Expanded, Setting{From: w.from, Written: written, Option: option, Value: value})
	}
}
