package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The limits of a manifest, which is read before anybody has vouched for it. They hold while it is read: 60 MB of `{},` would
// be gigabytes once decoded.
const (
	depthLimit  = 8        // of arrays and objects in one another
	headLimit   = 1 << 20  // bytes of all that is not the list of members
	memberLimit = 64 << 10 // bytes of one member
)

// decode reads and checks a manifest. Fields that it does not know are passed over: a newer superctl that has more to say
// without changing what the rest means keeps the format's number.
func decode(r io.Reader) (*Manifest, error) {
	m := new(Manifest)
	g := &guard{r: r}
	if err := decodeManifest(json.NewDecoder(g), m); err != nil {
		var broken *syntaxError
		switch {
		case errors.As(err, &broken):
			return nil, fmt.Errorf("its manifest cannot be read: %w", broken.error)
		case g.ended: // by itself, not because the bundle is cut short
			return nil, errors.New("its manifest cannot be read: it ends in the middle")
		}
		return nil, err // of the layers below
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("its manifest is wrong: %w", err)
	}
	return m, nil
}

// syntaxError is one of the manifest itself.
type syntaxError struct{ error }

func (e *syntaxError) Unwrap() error { return e.error }

func syntax(err error) error {
	var value *json.UnmarshalTypeError
	var text *json.SyntaxError
	if errors.As(err, &value) || errors.As(err, &text) {
		return &syntaxError{err}
	}
	return err
}

// decodeManifest reads the object key by key, and the members one by one.
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
		key, _ := t.(string) // as the grammar has it
		if _, twice := head[key]; twice || seen && key == "members" {
			return &syntaxError{fmt.Errorf("%q is in it twice", key)}
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

// end reads the end of the manifest, after which nothing may follow.
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
		return &syntaxError{fmt.Errorf("%v comes after its end", t)}
	}
}

func decodeMembers(in *json.Decoder) ([]Member, error) {
	switch t, err := in.Token(); {
	case err != nil:
		return nil, syntax(err)
	case t == nil: // null, as an empty list is written
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

// guard hands on JSON as long as it stays within the limits. It knows strings and brackets, and leaves the rest of the grammar to
// the decoder.
type guard struct {
	r       io.Reader
	ended   bool // all was read
	depth   int
	text    bool // in a string
	escaped bool // the next character of the string is taken as it is
	head    int  // bytes outside members
	member  int  // bytes of a member, or between two
	key     []byte
	members bool // the value at depth 1 is that of "members"
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
			return fmt.Errorf("it has more than %d lists and objects in one another", depthLimit)
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
