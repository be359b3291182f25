package servers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// uwsgiFormats are the options that name a uWSGI config file, and its format; "" = by the file's
// extension, as for a word that is not an option. Config files include others with the same options
// (core/uwsgi.c, uwsgi_base_options).
var uwsgiFormats = map[string]string{ //nolint:gochecknoglobals // a table
	"--ini": ".ini", "--yaml": ".yaml", "--yml": ".yaml", "-y": ".yaml", "--json": ".json", "--js": ".json",
	"-j":    ".json",
	"--xml": ".xml", "-x": ".xml",
	"--inherit": "", "--include": "", "--config": "",
}

// mostConfigs limits how many config files one command may include.
const mostConfigs = 64

// uwsgiSection is the section that counts in a config file, if none is named.
const uwsgiSection = "uwsgi"

// configSetting is an option in a config file.
type configSetting struct {
	key, value string
	line       int // 0 = unknown
}

// uwsgiFiles reads the options of all config files that the command includes, directly or
// indirectly. It refuses a file that it cannot read, which may contain any option.
func (c *command) uwsgiFiles() {
	done, defined := make(map[string]bool), make(placeholders)
	defined.define(c.words)
	defer func() { c.noteExpanded(defined) }()
	for i := 0; i < len(c.words); i++ { // grows while it is read
		name, format, ok := c.uwsgiConfig(i)
		if !ok || name == "" {
			continue
		}
		if scheme, _, remote := strings.Cut(name, "://"); remote || name == "-" {
			what := "a config from standard input"
			if remote {
				what = "a config by " + scheme + "://"
			}
			c.problem("%s: superctl cannot read %s, which may have any option in it: write a file", c.at(i), what)
			continue
		}
		path, section, _ := strings.Cut(name, ":")
		full := path
		if !filepath.IsAbs(full) {
			full = filepath.Join(c.in.Release, path)
		}
		if !filepath.IsAbs(full) || done[full+":"+section] {
			continue // the release is not known yet, or the file was read already
		}
		if done[full+":"+section] = true; len(done) > mostConfigs {
			c.problem("%s: more than %d configs include each other", c.at(i), mostConfigs)
			return
		}
		settings, err := readUWSGI(full, format, section)
		if err != nil {
			c.problem("%s: superctl cannot read %s, which may have any option in it: %v", c.at(i), name, err)
			continue
		}
		if !slices.Contains(c.out.Files, full) {
			c.out.Files = append(c.out.Files, full)
		}
		c.words = append(c.words, settingWords(full, cmp.Or(section, uwsgiSection), settings, defined)...)
	}
}

// at returns the place of a word.
func (c *command) at(i int) string { return c.where(given{from: c.words[i].from}) }

// uwsgiConfig reports whether the word at i names a config file.
func (c *command) uwsgiConfig(i int) (name, format string, ok bool) {
	w := c.words[i]
	if option, value, has := strings.Cut(w.text, "="); has {
		if format, ok := uwsgiFormats[option]; ok {
			return value, format, true
		}
		return "", "", false
	}
	if i > 0 && c.words[i-1].from == w.from && w.from == "" {
		if format, ok := uwsgiFormats[c.words[i-1].text]; ok {
			return w.text, format, true
		}
		last := c.words[i-1].text
		if strings.HasPrefix(last, "-") && !strings.Contains(last, "=") && last != "--master" && last != "-M" {
			return "", "", false // the value of another option
		}
	}
	name, _, _ = strings.Cut(w.text, ":")
	switch filepath.Ext(name) {
	case ".ini", ".yaml", ".yml", ".json", ".js", ".xml":
		return w.text, "", !strings.HasPrefix(w.text, "-") && w.from == ""
	}
	return "", "", false
}

// readUWSGI reads the settings in a section of a config file.
func readUWSGI(path, format, section string) ([]configSetting, error) {
	text, err := ReadConfig(path)
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &pathErr):
		return nil, pathErr.Err
	case err != nil:
		return nil, fmt.Errorf("not a regular file of at most %d KB", smallFile>>10)
	}
	section = cmp.Or(section, uwsgiSection)
	if format == "" {
		format = filepath.Ext(path)
	}
	switch format {
	case ".ini":
		return iniSettings(section, text), nil
	case ".yaml", ".yml":
		return yamlSettings(section, text)
	case ".json", ".js":
		return jsonSettings(section, text)
	case ".xml":
		return xmlSettings(section, text)
	}
	return nil, fmt.Errorf("unknown config format %q: use .ini, .yaml, .json or .xml", filepath.Ext(path))
}

// settingWords returns the settings that are on as options with their values. It replaces magic
// variables, and adds what the settings define to the placeholders.
func settingWords(path, section string, settings []configSetting, defined placeholders) []word {
	replace := magic(path, section)
	var words []word
	for _, s := range settings {
		from := filepath.Base(path)
		if s.line > 0 {
			from += ":" + strconv.Itoa(s.line)
		}
		option := "--" + s.key + "="
		words = append(words, word{text: option + replace.Replace(s.value), from: from, written: option + s.value})
	}
	defined.define(words)
	on := words[:0]
	for _, w := range words {
		option, value, _ := strings.Cut(defined.expand(w.text), "=")
		if isOff(value) && !slices.Contains(uwsgiNumbers(), option) {
			continue
		}
		if _, includes := uwsgiFormats[option]; includes && strings.HasPrefix(value, ":") {
			value = path + value // another section of this file
		}
		w.text = option + "=" + value
		on = append(on, w)
	}
	return on
}

// iniSettings reads a section as uWSGI does: a key may occur several times, and each counts.
func iniSettings(section, text string) (list []configSetting) {
	in := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
		case line[0] == '[':
			in = strings.Trim(line, "[] ") == section
		case in:
			key, value, _ := strings.Cut(line, "=")
			list = append(list, configSetting{strings.TrimSpace(key), strings.TrimSpace(value), n})
		}
	}
	return list
}

func yamlSettings(section, text string) (list []configSetting, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, errors.New("it is not YAML") // yaml's error contains the file's content
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, nil
	}
	for key, value := range pairs(doc.Content[0]) {
		if key.Value != section {
			continue
		}
		for key, value := range pairs(value) {
			values := []*yaml.Node{value}
			if value.Kind == yaml.SequenceNode {
				values = value.Content
			}
			for _, v := range values {
				if v.Kind == yaml.AliasNode {
					v = v.Alias
				}
				if v.Value == "" && slices.Contains(uwsgiNumbers(), "--"+key.Value) {
					continue // 2.0.31, measured: without a value it is not set
				}
				list = append(list, configSetting{key.Value, v.Value, key.Line})
			}
		}
	}
	return list, nil
}

// pairs yields the keys and values of a mapping; a key may occur several times.
func pairs(n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func jsonSettings(section, text string) (list []configSetting, err error) {
	var doc map[string]map[string]any
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	if err := in.Decode(&doc); err != nil {
		return nil, errors.New("it is not JSON with an object for each section")
	}
	for _, key := range slices.Sorted(maps.Keys(doc[section])) {
		values, several := doc[section][key].([]any)
		if !several {
			values = []any{doc[section][key]}
		}
		for _, v := range values {
			list = append(list, configSetting{key: key, value: fmt.Sprint(v)})
		}
	}
	return list, nil
}

func xmlSettings(section, text string) (list []configSetting, err error) {
	in := xml.NewDecoder(bytes.NewReader([]byte(text)))
	depth := 0 // below the section
	var key, value string
	line := 0
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, errors.New("it is not XML")
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth > 0 || t.Name.Local == section {
				depth++
			}
			if depth == 2 {
				key, value = t.Name.Local, ""
				line, _ = in.InputPos()
			}
		case xml.CharData:
			if depth == 2 {
				value += string(t)
			}
		case xml.EndElement:
			if depth == 2 {
				list = append(list, configSetting{key, strings.TrimSpace(value), line})
			}
			depth = max(0, depth-1)
		}
	}
}
