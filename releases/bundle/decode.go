package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a manifest, which is read before its signature is verified. They apply while it is
// parsed: 60 MB of `{},` would decode to gigabytes.
const (
	depthLimit  = 8        // nesting of arrays and objects
	headLimit   = 1 << 20  // bytes outside the list of members
	memberLimit = 64 << 10 // bytes of one member
)

// decode parses and checks a manifest. It ignores unknown fields: a newer superctl may add fields
// without increasing the format number, as long as the others keep their meaning.
func decode(r io.Reader) (*Manifest, error) {
	m := new(Manifest)
	g := &guard{r: r}
	if err := decodeManifest(json.NewDecoder(g), m); err != nil {
		var broken *syntaxError
		switch {
		case errors.As(err, &broken):
			return nil, fmt.Errorf("its manifest cannot be read: %w", broken.error)
		case g.ended: // the manifest ends, not the bundle
			return nil, errors.New("its manifest cannot be read: it is truncated")
		}
		return nil, err // an error of the archive or of the compression
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("its manifest is invalid: %w", err)
	}
	return m, nil
}

// syntaxError is an error in the manifest itself, as opposed to its transport.
type syntaxError struct{ error }

func (e *syntaxError) Unwrap() error { return e.error }

// syntax wraps a JSON error as a *syntaxError.
func syntax(err error) error {
	var value *json.UnmarshalTypeError
	var text *json.SyntaxError
	if errors.As(err, &value) || errors.As(err, &text) {
		return &syntaxError{err}
	}
	return err
}

// decodeManifest parses the object key by key, and the members one by one.
func decodeManifest(in *json.Decoder, m *Manifest) error {
	if err := expect(in, '{', "an object"); err != nil {
		return err
	}
	head := make(map[string]json.RawMessage)
	var members []Member
	seen := false
	for in.More() {
		t, err := in.Token()
		if err != nil {
			return syntax(err)
		}
		name, _ := t.(string) // JSON keys are strings
		key := fold(name)
		if _, twice := head[key]; twice || seen && key == "members" {
			return &syntaxError{fmt.Errorf("%q occurs twice", name)}
		}
		if key == "members" {
			seen = true
			if members, err = decodeMembers(in); err != nil {
				return err
			}
			continue
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return syntax(err)
		}
		head[key] = value
	}
	if err := end(in); err != nil {
		return err
	}
	text, err := json.Marshal(head)
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	m.Members = members
	return syntax(err)
}

// fold gives keys that differ only in case one spelling: encoding/json takes them for the same field.
func fold(key string) string { return strings.ToLower(strings.ToUpper(key)) }

// end reads the end of the manifest. Nothing may follow.
func end(in *json.Decoder) error {
	if err := expect(in, '}', "the end of the object"); err != nil {
		return err
	}
	switch t, err := in.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return syntax(err)
	default:
		return &syntaxError{fmt.Errorf("%v follows its end", t)}
	}
}

func decodeMembers(in *json.Decoder) ([]Member, error) {
	switch t, err := in.Token(); {
	case err != nil:
		return nil, syntax(err)
	case t == nil: // null: the encoding of an empty list
		return nil, nil
	case t != json.Delim('['):
		return nil, &syntaxError{errors.New("its members are not a list")}
	}
	var list []Member
	for in.More() {
		if len(list) == membersLimit {
			return nil, &syntaxError{fmt.Errorf("it has more than %d members", membersLimit)}
		}
		var e Member
		if err := in.Decode(&e); err != nil {
			return nil, syntax(err)
		}
		list = append(list, e)
	}
	return list, expect(in, ']', "the end of the members")
}

func expect(in *json.Decoder, want json.Delim, what string) error {
	t, err := in.Token()
	if err != nil {
		return syntax(err)
	}
	if t != want {
		return &syntaxError{fmt.Errorf("%s is expected", what)}
	}
	return nil
}

// guard passes JSON through as long as it stays within the limits. It only tracks strings and
// brackets; the decoder checks the rest of the grammar.
type guard struct {
	r       io.Reader
	ended   bool // the input has ended
	depth   int
	text    bool // inside a string
	escaped bool // the next character of the string is escaped
	head    int  // bytes outside members
	member  int  // bytes of the current member, or since the last one
	key     []byte
	members bool // the current value at depth 1 is that of "members"
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for _, c := range p[:n] {
		if bad := g.see(c); bad != nil {
			return 0, &syntaxError{bad}
		}
	}
	g.ended = g.ended || errors.Is(err, io.EOF)
	return n, err
}

func (g *guard) see(c byte) error {
	if g.members && g.depth > 1 {
		if g.member++; g.member > memberLimit {
			return fmt.Errorf("a member has more than %d bytes", memberLimit)
		}
	} else if g.head++; g.head > headLimit {
		return fmt.Errorf("it has more than %d bytes before or after its members", headLimit)
	}
	if g.text {
		g.seeText(c)
		return nil
	}
	switch c {
	case '"':
		g.text, g.key = true, g.key[:0]
	case '{', '[':
		if g.depth++; g.depth > depthLimit {
			return fmt.Errorf("its lists and objects are nested more than %d deep", depthLimit)
		}
	case '}', ']':
		g.depth--
		g.members = g.members && g.depth > 1
	case ',':
		if g.depth == 2 {
			g.member = 0
		}
	case ':':
		if g.depth == 1 {
			g.members, g.member = string(g.key) == "members", 0
		}
	}
	return nil
}

func (g *guard) seeText(c byte) {
	switch {
	case g.escaped:
		g.escaped = false
	case c == '\\':
		g.escaped = true
	case c == '"':
		g.text = false
		return
	}
	if g.depth == 1 && len(g.key) <= len("members") {
		g.key = append(g.key, c)
	}
}
