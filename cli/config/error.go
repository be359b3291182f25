package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/xrash/smetrics"
)

// Error is one thing that is wrong in a config file.
type Error struct {
	File         string
	Line, Column int // 0 = nowhere in particular
	Msg          string
}

// Error is FILE:LINE:COLUMN: what is wrong and what to do.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// mostErrors is how many are told at once.
const mostErrors = 20

// problems collects what is wrong with a file.
type problems struct {
	file  string
	where map[string]position
	list  []*Error
}

type position struct{ line, column int }

// at notes a problem at the place of a key, or at that of the table that should have it.
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

// err is all that is wrong, in the order of the file.
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

// decode reads the TOML into f and notes what is wrong with its form.
func (p *problems) decode(data []byte, f *file) {
	dec := toml.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	err := dec.Decode(f)
	var missing *toml.StrictMissingError
	var one *toml.DecodeError
	switch {
	case errors.As(err, &missing):
		for i := range missing.Errors {
			e := &missing.Errors[i]
			line, column := e.Position()
			p.list = append(p.list, &Error{p.file, line, column, unknownKey(e.Key())})
		}
	case errors.As(err, &one):
		line, column := one.Position()
		p.list = append(p.list, &Error{p.file, line, column, plain(one)})
	case err != nil:
		p.list = append(p.list, &Error{File: p.file, Msg: err.Error()})
	}
}

// plain is the decoder's message without Go's names of types.
func plain(e *toml.DecodeError) string {
	msg := strings.TrimPrefix(e.Error(), "toml: ")
	if _, goType, ok := strings.Cut(msg, "into a Go value of type "); ok {
		goType, _, _ = strings.Cut(goType, " ")
		_, goType, _ = strings.Cut("x "+goType, " ")
		for has, word := range map[string]string{
			"[]string": "a list of strings", "[][]string": "a list of lists of strings", "string": "a string", "*string": "a string, such as \"10s\"",
			"int64": "a whole number", "*int64": "a whole number", "bool": "true or false", "*bool": "true or false",
		} {
			if goType == has {
				return strings.Join(e.Key(), ".") + " must be " + word
			}
		}
	}
	if i := strings.Index(msg, "cannot decode TOML"); i >= 0 {
		return strings.Join(e.Key(), ".") + ": " + expected(e.Key(), msg[i:])
	}
	return msg
}

// expected says what a key takes, from the type of its field.
func expected(key []string, msg string) string {
	t := field(reflect.TypeFor[file](), key)
	if t == nil {
		return msg
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
		if t.Elem().Kind() == reflect.Slice {
			return `a list of commands is expected, each a list of words: [["python", "manage.py", "migrate"]]`
		}
		return "a list of strings is expected"
	default:
		return "a table is expected"
	}
}

// unknownKey suggests the key that was meant.
func unknownKey(key []string) string {
	name := strings.Join(key, ".")
	t := reflect.TypeFor[file]()
	if len(key) > 1 {
		t = field(t, key[:len(key)-1])
	}
	best, score := "", 0.0
	for _, known := range tags(t) {
		if s := smetrics.JaroWinkler(key[len(key)-1], known, 0.7, 4); s > score {
			best, score = known, s
		}
	}
	if score < 0.75 {
		return fmt.Sprintf("unknown key %q; here are: %s", name, strings.Join(tags(t), ", "))
	}
	return fmt.Sprintf("unknown key %q; did you mean %q?", name, best)
}

// field is the type that a key path leads to, or nil.
func field(t reflect.Type, key []string) reflect.Type {
	for _, k := range key {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
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

// tags are the keys of a table, in the order of its fields.
func tags(t reflect.Type) []string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	list := make([]string, t.NumField())
	for i := range list {
		list[i] = t.Field(i).Tag.Get("toml")
	}
	return list
}

// positions finds where each key and table of a file stands.
func positions(data []byte) map[string]position {
	where := make(map[string]position)
	var p unstable.Parser
	p.Reset(data)
	table := ""
	note := func(prefix string, e *unstable.Node) string {
		var path []string
		if prefix != "" {
			path = append(path, prefix)
		}
		var pos position
		for it := e.Key(); it.Next(); {
			n := it.Node()
			path = append(path, string(n.Data))
			if start := p.Shape(n.Raw).Start; pos.line == 0 {
				pos = position{start.Line, start.Column}
			}
		}
		key := strings.Join(path, ".")
		where[key] = pos
		return key
	}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind { //nolint:exhaustive // only these have keys
		case unstable.Table, unstable.ArrayTable:
			table = note("", e)
		case unstable.KeyValue:
			note(table, e)
		}
	}
	return where
}
