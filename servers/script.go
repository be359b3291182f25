package servers

import (
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// script is what `sh -c` runs.
type script struct {
	// commands are the words of each simple command, in their order. Variables are not expanded: "$"
	// stands for what the shell puts there.
	commands [][]string
	// leaves reports that its last command goes on in the background when the script ends.
	leaves bool
}

// scriptOf parses the script of a command; ok is false if the command runs none. The error is that
// the shell would not understand it either.
func scriptOf(words []string) (s script, ok bool, err error) {
	for i, word := range words {
		if !isShell(word) || !startsProgram(words, i) {
			continue
		}
		for j := i + 1; j+1 < len(words) && strings.HasPrefix(words[j], "-"); j++ {
			if strings.HasSuffix(words[j], "c") {
				s, err = parseScript(words[j+1], filepath.Base(word))
				return s, true, err
			}
		}
	}
	return s, false, nil
}

func parseScript(text, shell string) (s script, err error) {
	variant := syntax.LangBash // which zsh and ksh are near to
	if shell == "sh" || shell == "dash" {
		variant = syntax.LangPOSIX
	}
	file, err := syntax.NewParser(syntax.Variant(variant)).Parse(strings.NewReader(text), "")
	if err != nil {
		return s, err
	}
	syntax.Walk(file, func(node syntax.Node) bool {
		switch node := node.(type) {
		case *syntax.CallExpr:
			if words := literals(node.Args); len(words) > 0 {
				s.commands = append(s.commands, words)
			}
		case *syntax.Word: // $(...) in a word runs to its end
			return false
		}
		return true
	})
	s.leaves = leaves(file.Stmts)
	return s, nil
}

// leaves reports whether the last of these statements goes on in the background when they end.
func leaves(list []*syntax.Stmt) bool {
	for _, stmt := range slices.Backward(list) {
		if stmt.Background || stmt.Coprocess || stmt.Disown {
			return true
		}
		if call, ok := stmt.Cmd.(*syntax.CallExpr); ok && isNothing(literals(call.Args)) {
			continue
		}
		return slices.ContainsFunc(bodies(stmt.Cmd), leaves)
	}
	return false
}

// isNothing reports whether a command leaves a script as it would end without it.
func isNothing(words []string) bool {
	return len(words) > 0 && slices.Contains([]string{"disown", "exit", "true", ":"}, words[0])
}

// bodies are the lists of statements one of which is the last that a compound command runs.
func bodies(command syntax.Command) [][]*syntax.Stmt {
	switch c := command.(type) {
	case *syntax.Subshell:
		return [][]*syntax.Stmt{c.Stmts}
	case *syntax.Block:
		return [][]*syntax.Stmt{c.Stmts}
	case *syntax.BinaryCmd: // a && b, a || b, a | b
		return [][]*syntax.Stmt{{c.Y}}
	case *syntax.WhileClause:
		return [][]*syntax.Stmt{c.Do}
	case *syntax.ForClause:
		return [][]*syntax.Stmt{c.Do}
	case *syntax.IfClause:
		list := [][]*syntax.Stmt{c.Then}
		if c.Else != nil {
			list = append(list, bodies(c.Else)...)
		}
		return list
	case *syntax.CaseClause:
		var list [][]*syntax.Stmt
		for _, item := range c.Items {
			list = append(list, item.Stmts)
		}
		return list
	}
	return nil
}

func literals(words []*syntax.Word) []string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = literal(word.Parts)
	}
	return list
}

// literal is a word as the shell passes it on, with "$" for what it would expand.
func literal(parts []syntax.WordPart) string {
	var b strings.Builder
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			for i := 0; i < len(p.Value); i++ {
				if p.Value[i] == '\\' && i+1 < len(p.Value) {
					i++
				}
				b.WriteByte(p.Value[i])
			}
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.WriteString(literal(p.Parts))
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}
