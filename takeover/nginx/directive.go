package nginx

import (
	"errors"
	"fmt"
	"strings"
)

// word is a word of a configuration, and where it is in the text.
type word struct {
	text       string // without quotes
	begin, end int    // with quotes
	mark       byte   // ; { or }: not a word
}

// directive is a directive of a configuration: its name and arguments.
type directive struct {
	line  int
	words []word
	in    *directive // the block that it is in; nil = none in this file
}

func (d *directive) name() string { return d.words[0].text }
func (d *directive) args() []word { return d.words[1:] }

// argument returns the first argument, or "".
func (d *directive) argument() string {
	if len(d.words) < 2 {
		return ""
	}
	return d.words[1].text
}

// parse returns the directives of a file, in their order. It splits the text as ngx_conf_read_token
// does, but it keeps no escapes: an address has none. It does not read blocks of Lua.
func parse(text string) ([]*directive, error) {
	var p parser
	for at := 0; ; {
		var w word
		if w, at = next(text, at); w.begin == len(text) {
			break
		}
		line := 1 + strings.Count(text[:w.begin], "\n")
		if w.mark == 0 {
			p.add(w, line)
		} else if err := p.end(w.mark); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if p.block != nil || p.current != nil {
		return nil, fmt.Errorf("line %d: unexpected end of the file", 1+strings.Count(text, "\n"))
	}
	return p.list, nil
}

// parser joins words to directives.
type parser struct {
	list    []*directive
	block   *directive // the block that is open; nil = none
	current *directive // the directive that has not ended; nil = none
}

// add adds a word to the directive, or begins one.
func (p *parser) add(w word, line int) {
	if p.current != nil {
		p.current.words = append(p.current.words, w)
		return
	}
	p.current = &directive{line: line, in: p.block, words: []word{w}}
	p.list = append(p.list, p.current)
}

// end ends a directive or a block at a mark.
func (p *parser) end(mark byte) error {
	switch {
	case mark == '}' && p.current == nil && p.block != nil:
		p.block = p.block.in
	case mark == ';' && p.current != nil:
		p.current = nil
	case mark == '{' && p.current != nil && strings.HasSuffix(p.current.name(), "_by_lua_block"):
		return errors.New("a block of Lua")
	case mark == '{' && p.current != nil:
		p.block, p.current = p.current, nil
	default:
		return fmt.Errorf("unexpected %q", string(mark))
	}
	return nil
}

// next returns the word that begins at or after an offset, and where the next one can begin. At the
// end of the text the word begins there.
func next(text string, at int) (word, int) {
	for at < len(text) && (isSpace(text[at]) || text[at] == '#') {
		if text[at] == '#' {
			comment, _, _ := strings.Cut(text[at:], "\n")
			at += len(comment)
			continue
		}
		at++
	}
	if at == len(text) {
		return word{begin: at, end: at}, at
	}
	switch c := text[at]; c {
	case ';', '{', '}':
		return word{begin: at, end: at + 1, mark: c}, at + 1
	case '"', '\'':
		end := endOf(text, at+1, func(i int) bool { return text[i] == c })
		return word{text: text[at+1 : end], begin: at, end: min(end+1, len(text))}, min(end+1, len(text))
	}
	end := endOf(text, at, func(i int) bool {
		return isSpace(text[i]) || text[i] == ';' || text[i] == '{' && (i == at || text[i-1] != '$')
	})
	return word{text: text[at:end], begin: at, end: end}, end
}

// endOf returns the offset at which a word ends. A backslash quotes the character after it.
func endOf(text string, at int, ends func(int) bool) int {
	for ; at < len(text) && !ends(at); at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return min(at, len(text))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
