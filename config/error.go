package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/xrash/smetrics"
)

// Error is an error in a config file.
type Error struct {
	File         string
	Line, Column int // 0 = the whole file
	Msg          string
}

// Error returns FILE:LINE:COLUMN: what is wrong and what to do.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// mostErrors is how many errors are reported at once.
const mostErrors = 20

// problems collects the errors in a file.
type problems struct {
	file  string
	where map[string]position
	list  []*Error
	empty []string // keys whose value is an empty string

	// elements counts the tables read so far of each array of tables.
	elements map[string]int
}

type position struct{ line, column int }

// at records an error at the place of a key, or of the table that should have it.
func (p *problems) at(key, format string, args ...any) {
	e := &Error{File: p.file, Msg: fmt.Sprintf(format, args...)}
	for k := key; k != ""; {
		if pos, ok := p.where[k]; ok {
			e.Line, e.Column = pos.line, pos.column
			break
		}
		i := strings.LastIndexByte(k, '.')
		k = k[:max(i, 0)]
	}
	p.list = append(p.list, e)
}

// err returns all errors, in the order of the file.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, 0, len(p.list))
	for i, e := range p.list {
		if i == mostErrors {
			errs = append(errs, fmt.Errorf("%s: and %d more", p.file, len(p.list)-i))
			break
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// decode parses the TOML into f and records syntax and type errors.
func (p *problems) decode(data []byte, f *file) {
	if utf16(data) {
		p.list = []*Error{{File: p.file, Msg: "it is UTF-16: save it as UTF-8"}}
		return
	}
	err := toml.Unmarshal(data, f)
	var one *toml.DecodeError
	switch {
	case errors.As(err, &one):
		line, column := one.Position()
		p.list = append(p.list, &Error{p.file, line, column, form(data, line, column, plain(one, keyBefore(data, line, column)))})
	case err != nil:
		p.list = append(p.list, &Error{File: p.file, Msg: err.Error()})
	}
}

var keyAtEnd = regexp.MustCompile(`([A-Za-z0-9_-]+)\s*=\s*$`)

// keyBefore returns the key whose value is at a place, or "".
func keyBefore(data []byte, line, column int) string {
	lines := strings.Split(string(data), "\n")
	if line < 1 || line > len(lines) || column < 1 || column-1 > len(lines[line-1]) {
		return ""
	}
	if m := keyAtEnd.FindStringSubmatch(lines[line-1][:column-1]); m != nil {
		return m[1]
	}
	return ""
}

// plain returns the decoder's message without names of Go types. The decoder names the table only if a key of an
// inline table has the wrong type: key is that key.
func plain(e *toml.DecodeError, key string) string {
	msg := strings.TrimPrefix(e.Error(), "toml: ")
	if i := strings.Index(msg, "cannot decode TOML"); i >= 0 {
		path := e.Key()
		if inner := append(slices.Clone(path), key); len(path) > 0 && path[len(path)-1] != key &&
			field(reflect.TypeFor[file](), inner) != nil {
			path = inner
		}
		return strings.Join(path, ".") + ": " + expected(path, msg[i:])
	}
	if key := e.Key(); len(key) > 0 && strings.HasPrefix(msg, "cannot store an array table") {
		name := strings.Join(key, ".")
		if t := field(reflect.TypeFor[file](), key); t != nil && t.Kind() == reflect.Map {
			return fmt.Sprintf("write [%s.NAME], in single brackets", name)
		}
		return fmt.Sprintf("write [%s], in single brackets", name)
	}
	if strings.HasPrefix(msg, "cannot store a table in a string") {
		return strings.Join(e.Key(), ".") + ": a string is expected, in quotes"
	}
	return msg
}

// fewKeys is how many keys a table has at most that is written in one line.
const fewKeys = 6

// expected returns what a key takes, from the type of its field.
func expected(key []string, msg string) string {
	t := field(reflect.TypeFor[file](), key)
	if t == nil {
		return msg
	}
	if t == reflect.TypeFor[*duration]() {
		return `a duration is expected, such as "10s" or "5m"`
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string is expected, in quotes"
	case reflect.Int64:
		return "a whole number is expected"
	case reflect.Bool:
		return "true or false is expected"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return fmt.Sprintf("write [[%s]], in double brackets, and the keys of one below", strings.Join(key, "."))
		}
		return "a list of strings is expected"
	default:
		return expectedTable(key, tags(t))
	}
}

// expectedTable says how to write the table of a key. keys are those that it has.
func expectedTable(key, keys []string) string {
	switch named := key[0]; {
	case len(key) <= 2 && (named == "process" || named == "listen" || named == "notify"):
		return fmt.Sprintf("a table is expected: write [%s.NAME], and its keys below", named)
	case len(key) < 2 || slices.Contains(keys, ""):
		return "a table is expected"
	case len(keys) > fewKeys:
		return fmt.Sprintf("a table is expected: write [%s], and its keys below", strings.Join(key, "."))
	default:
		return "a table is expected, { KEY = VALUE }, with the keys " + strings.Join(keys, ", ")
	}
}

// unknownKey returns the message for an unknown key, with a suggestion.
func unknownKey(path, known []string) string {
	name, wrong := strings.Join(path, "."), strings.ToLower(path[len(path)-1])
	best, score := "", 0.0
	for _, k := range known {
		if s := smetrics.JaroWinkler(wrong, k, 0.7, 4); s > score {
			best, score = k, s
		}
	}
	if score < 0.75 {
		return fmt.Sprintf("unknown key %q; there are: %s", name, strings.Join(known, ", "))
	}
	return fmt.Sprintf("unknown key %q; did you mean %q?", name, best)
}

// field returns the type of a key, or nil.
func field(t reflect.Type, key []string) reflect.Type {
	for _, k := range key {
		t = element(t)
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			i := slices.Index(tags(t), k)
			if i < 0 {
				return nil
			}
			t = t.Field(i).Type
		default:
			return nil
		}
	}
	return t
}

// element returns the type that a pointer or list refers to.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// tags returns the keys of a table, in the order of its fields.
func tags(t reflect.Type) []string {
	if t == nil {
		return nil
	}
	if t = element(t); t.Kind() != reflect.Struct {
		return nil
	}
	list := make([]string, t.NumField())
	for i := range list {
		list[i] = t.Field(i).Tag.Get("toml")
	}
	return list
}

// read finds the place of each key and table. It records unknown keys, because the decoder ignores
// case, and NUL bytes, which end a string for the kernel.
func (p *problems) read(data []byte) {
	p.where, p.elements = make(map[string]position), make(map[string]int)
	var parser unstable.Parser
	parser.Reset(data)
	var table []string
	for parser.NextExpression() {
		e := parser.Expression()
		switch e.Kind { //nolint:exhaustive // only these have keys
		case unstable.Table, unstable.ArrayTable:
			table = p.key(&parser, nil, e)
		case unstable.KeyValue:
			p.value(&parser, p.key(&parser, table, e), e.Value())
		}
	}
}

// key records the place of a key, and returns its full path.
func (p *problems) key(parser *unstable.Parser, table []string, e *unstable.Node) []string {
	path := slices.Clone(table)
	var pos position
	for it := e.Key(); it.Next(); {
		n := it.Node()
		at := parser.Shape(n.Raw).Start
		if pos.line == 0 {
			pos = position{at.Line, at.Column}
		}
		known := tags(field(reflect.TypeFor[file](), path))
		path = append(path, string(n.Data))
		if len(known) > 0 && !slices.Contains(known, path[len(path)-1]) {
			p.list = append(p.list, &Error{p.file, at.Line, at.Column, unknownKey(path, known)})
		}
	}
	if e.Kind == unstable.ArrayTable {
		p.elements[strings.Join(path, ".")]++
	}
	p.where[p.place(path)] = pos
	return path
}

// empties refuses keys whose value is an empty string, most often from a template whose variable is not set.
// A user that is not given is root, and not "".
func (p *problems) empties() {
	for _, key := range p.empty {
		if !slices.ContainsFunc(p.list, func(e *Error) bool { return e.Line == p.where[key].line }) {
			p.at(key, "%s is empty: write a value, or leave the key out", last(key))
		}
	}
}

// place returns the name of a key in where. In an array of tables it contains the table's index,
// such as process.web.health.check[0].path.
func (p *problems) place(path []string) string {
	var name, plain string
	for i, k := range path {
		if i > 0 {
			name, plain = name+".", plain+"."
		}
		name, plain = name+k, plain+k
		if n := p.elements[plain]; n > 0 {
			name += fmt.Sprintf("[%d]", n-1)
		}
	}
	return name
}

func (p *problems) value(parser *unstable.Parser, path []string, v *unstable.Node) {
	switch v.Kind { //nolint:exhaustive // the others hold no text
	case unstable.String:
		if bytes.IndexByte(v.Data, 0) >= 0 {
			at := parser.Shape(v.Raw).Start
			p.list = append(p.list, &Error{p.file, at.Line, at.Column, strings.Join(path, ".") + " has a NUL byte"})
		}
		if named := field(reflect.TypeFor[file](), path[:len(path)-1]); len(v.Data) == 0 && named != nil && named.Kind() != reflect.Map {
			p.empty = append(p.empty, p.place(path))
		}
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.InlineTable {
				p.elements[strings.Join(path, ".")]++
			}
			p.value(parser, path, it.Node())
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			p.value(parser, p.key(parser, path, it.Node()), it.Node().Value())
		}
	}
}
