package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutation is found by its tokens, not by its text, so that it fits after a move: the layout and
// the file do not matter, and $x stands for any name with its selectors, such as a receiver: in, s,
// c.owner.

// holePrefix stands for the $ of a pattern, which is no token of Go.
const holePrefix = "HOLE_"

// tok is one token of the source.
type tok struct {
	kind     token.Token
	text     string
	from, to int // bytes
}

func (t tok) hole() bool { return t.kind == token.IDENT && strings.HasPrefix(t.text, holePrefix) }

// tokens reads Go source, or a piece of it. The semicolons that Go inserts, and comments, are left
// out.
func tokens(source string) (list []tok) {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(source))
	s.Init(file, []byte(source), func(token.Position, string) {}, 0)
	for {
		pos, kind, text := s.Scan()
		if kind == token.EOF {
			return list
		}
		if kind == token.SEMICOLON && text == "\n" {
			continue
		}
		if text == "" {
			text = kind.String()
		}
		from := file.Offset(pos)
		list = append(list, tok{kind, text, from, from + len(text)})
	}
}

// place is where in a source a pattern is, and what its holes stand for.
type place struct {
	path, source string
	from, to     int
	holes        map[string]string
}

// with is the source with something else at the place.
func (p place) with(text string) string {
	for name, value := range p.holes {
		text = strings.ReplaceAll(text, "$"+name, value)
	}
	return p.source[:p.from] + text + p.source[p.to:]
}

// find returns each place at which the pattern is in the files of the packages that are no tests; within
// the functions of that name only, unless it is "".
func find(function, pattern string) (places []place, err error) {
	want := tokens(strings.ReplaceAll(pattern, "$", holePrefix))
	if len(want) == 0 {
		return nil, errors.New("it has no text to look for")
	}
	var paths []string
	for _, dir := range packages() {
		inDir, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		paths = append(paths, inDir...)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		source := string(data)
		spans := [][2]int{{0, len(source)}}
		if function != "" {
			if spans, err = functions(source, function); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		all := tokens(source)
		for _, span := range spans {
			in := slices.DeleteFunc(slices.Clone(all), func(t tok) bool { return t.from < span[0] || t.to > span[1] })
			for i := range in {
				holes := make(map[string]string)
				if n, ok := match(want, in[i:], holes, i == 0 || in[i-1].kind != token.PERIOD); ok {
					places = append(places, place{path, source, in[i].from, in[i+n-1].to, holes})
				}
			}
		}
	}
	return places, nil
}

// functions are the bytes of the functions and methods of a name.
func functions(source, name string) (spans [][2]int, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name {
			spans = append(spans, [2]int{set.Position(f.Pos()).Offset, set.Position(f.End()).Offset})
		}
	}
	return spans, nil
}

// match reports whether the tokens begin with the pattern, and with how many of them it ends.
// first: no selector leads to them.
func match(want, have []tok, holes map[string]string, first bool) (n int, ok bool) {
	switch {
	case len(want) == 0:
		return 0, true
	case len(have) == 0:
		return 0, false
	case !want[0].hole():
		if want[0].kind != have[0].kind || want[0].text != have[0].text {
			return 0, false
		}
		n, ok = match(want[1:], have[1:], holes, have[0].kind != token.PERIOD)
		return n + 1, ok
	case !first:
		return 0, false
	}
	name := strings.TrimPrefix(want[0].text, holePrefix)
	before, bound := holes[name]
	value := ""
	for at := 0; at < len(have) && have[at].kind == token.IDENT; at += 2 {
		value += have[at].text
		if !bound || value == before {
			holes[name] = value
			if n, ok := match(want[1:], have[at+1:], holes, true); ok {
				return at + 1 + n, true
			}
			if !bound {
				delete(holes, name)
			}
		}
		if at+1 >= len(have) || have[at+1].kind != token.PERIOD {
			break
		}
		value += "."
	}
	return 0, false
}
