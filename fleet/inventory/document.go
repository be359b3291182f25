package inventory

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/xrash/smetrics"
)

// document is a file with fleets. What else is in it belongs to the app's config, which checks it.
type document struct {
	App   string           `toml:"app"`
	Fleet map[string]Table `toml:"fleet"`

	path  string
	where map[string]unstable.Position // of each key of a fleet: production.canary
}

func read(path string) (*document, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	d := &document{path: path, where: make(map[string]unstable.Position)}
	err = toml.Unmarshal(data, d)
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &wrong):
		line, column := wrong.Position()
		return nil, &Error{path, line, column, message(wrong)}
	case err != nil:
		return nil, &Error{File: path, Msg: err.Error()}
	}
	return d, d.keys(data)
}

// message returns the decoder's message without names of Go types.
func message(e *toml.DecodeError) string {
	text := strings.TrimPrefix(e.Error(), "toml: ")
	if !strings.HasPrefix(text, "cannot decode") && !strings.HasPrefix(text, "cannot store") {
		return text
	}
	name := strings.Join(e.Key(), ".")
	switch key := e.Key(); {
	case len(key) == 0:
		return text
	case len(key) > 0 && slices.Contains([]string{"hosts", "labels"}, key[len(key)-1]):
		return name + ": a list of hosts is expected, such as [\"web1\", \"web2\"]"
	case len(key) > 0 && key[len(key)-1] == "batch":
		return name + ": a whole number of hosts is expected"
	case len(key) > 0 && key[len(key)-1] == "sudo":
		return name + ": true or false is expected"
	case len(key) < 3:
		return name + ": a table is expected: write [fleet.production], and its keys below"
	default:
		return name + ": a string is expected, in quotes"
	}
}

// keys records where the keys of fleets are, and refuses unknown ones.
func (d *document) keys(data []byte) error {
	var parser unstable.Parser
	parser.Reset(data)
	var table []string
	for parser.NextExpression() {
		e := parser.Expression()
		path := table
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			path = nil
		}
		var at unstable.Position
		path = slices.Clone(path)
		for it := e.Key(); it.Next(); {
			at = parser.Shape(it.Node().Raw).Start
			path = append(path, string(it.Node().Data))
		}
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table = path
		}
		if len(path) < 2 || path[0] != "fleet" {
			continue
		}
		d.where[strings.Join(path[1:], ".")] = at
		if keys := tags(); len(path) > 2 && !slices.Contains(keys, path[2]) {
			return &Error{d.path, at.Line, at.Column, unknownKey(path[2], keys)}
		}
	}
	return nil
}

func tags() (keys []string) {
	for f := range reflect.TypeFor[Table]().Fields() {
		keys = append(keys, f.Tag.Get("toml"))
	}
	return keys
}

func unknownKey(key string, known []string) string {
	best, score := "", 0.0
	for _, k := range known {
		if s := smetrics.JaroWinkler(strings.ToLower(key), k, 0.7, 4); s > score {
			best, score = k, s
		}
	}
	if score < 0.75 {
		return fmt.Sprintf("unknown key %q; there are: %s", key, strings.Join(known, ", "))
	}
	return fmt.Sprintf("unknown key %q; did you mean %q?", key, best)
}

// at returns a function that makes an error at the place of a key of a fleet, or of the fleet.
func (d *document) at(fleet, key string) func(format string, args ...any) error {
	return func(format string, args ...any) error {
		pos, ok := d.where[fleet+"."+key]
		if !ok {
			pos = d.where[fleet]
		}
		return &Error{d.path, pos.Line, pos.Column, fmt.Sprintf(format, args...)}
	}
}
