package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// One build has all mutations that are in a function: a copy of the function for each, which the
// original calls when the environment names the mutation. So the tests are built once, and not once for
// each mutation.

// mutantSuffix is in the names of the copies; the simulator takes it out of the names of what it sees.
const mutantSuffix = "__mutant"

// chosen is the declaration, in a package of copies, of the mutation that is played.
const chosen = `package %s

import (
	"os"
	"strconv"
)

var mutant, _ = strconv.Atoi(os.Getenv("MUTANT"))
`

// sources are the files of the package with a copy of a function for each mutation, by their paths, and
// the mutations, by their number from 1, that are not among them, because they are in no function that
// can be called by another.
func sources(all []mutation) (files map[string]string, apart map[int]bool, err error) {
	files, apart = make(map[string]string), make(map[int]bool)
	byPath := make(map[string][]insertion)
	for i, m := range all {
		at, err := m.place()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
		in, ok, err := copied(at, at.with(m.broken), i+1)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
		if !ok {
			apart[i+1] = true
			continue
		}
		byPath[at.path] = append(byPath[at.path], in...)
		files[at.path] = at.source
	}
	for path, list := range byPath {
		slices.SortStableFunc(list, func(a, b insertion) int { return b.at - a.at })
		list = slices.Compact(list) // two mutations of one function name the same parameter
		source, copies := files[path], ""
		for _, in := range list {
			source = source[:in.at] + in.text + source[in.at:]
			copies += in.function
		}
		files[path] = source + copies
	}
	for _, dir := range packages() {
		files[filepath.Join(dir, "mutant.go")] = fmt.Sprintf(chosen, filepath.Base(dir))
	}
	return files, apart, nil
}

// insertion is what a source gets at a place, and what is added to its end: a copy of a function, and
// the call of it at the beginning of the original's body.
type insertion struct {
	at             int
	text, function string
}

// copied makes a copy of the function around a place from the broken source; not ok if the place is in no
// function.
func copied(at place, broken string, number int) (list []insertion, ok bool, err error) {
	f, set, err := functionAt(at.source, at.from)
	if err != nil || f == nil || f.Type.TypeParams != nil {
		return nil, false, err
	}
	g, set2, err := functionAt(broken, set.Position(f.Pos()).Offset+1)
	if err != nil || g == nil {
		return nil, false, err
	}
	arguments, ok := names(f.Type.Params)
	if !ok && f.Type.Params.NumFields() == 1 { // it has no name: in the copy it still has none
		arguments, ok = []string{"unnamed"}, true
		list = append(list, insertion{at: set.Position(f.Type.Params.List[0].Pos()).Offset, text: "unnamed "})
	}
	if !ok {
		return nil, false, nil
	}
	var in insertion
	callee := fmt.Sprintf("%s%s%d", f.Name.Name, mutantSuffix, number)
	text := broken[set2.Position(g.Pos()).Offset:set2.Position(g.End()).Offset]
	from := set2.Position(g.Name.Pos()).Offset - set2.Position(g.Pos()).Offset
	in.function = "\n" + text[:from] + callee + text[from+len(g.Name.Name):] + "\n"
	if f.Recv != nil {
		receiver, named := names(f.Recv)
		if !named || len(receiver) != 1 {
			return nil, false, nil
		}
		callee = receiver[0] + "." + callee
	}
	call := fmt.Sprintf("%s(%s)", callee, strings.Join(arguments, ", "))
	in.at = set.Position(f.Body.Lbrace).Offset + 1
	if f.Type.Results == nil {
		in.text = fmt.Sprintf("\nif mutant == %d { %s; return };", number, call)
	} else {
		in.text = fmt.Sprintf("\nif mutant == %d { return %s };", number, call)
	}
	return append(list, in), true, nil
}

// functionAt is the function or method around an offset; nil if there is none.
func functionAt(source string, offset int) (*ast.FuncDecl, *token.FileSet, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if ok && f.Body != nil && set.Position(f.Pos()).Offset <= offset && offset < set.Position(f.End()).Offset {
			return f, set, nil
		}
	}
	return nil, set, nil
}

// names are those of parameters as the arguments of a call; not ok if one has none.
func names(list *ast.FieldList) (arguments []string, ok bool) {
	for _, field := range list.List {
		if len(field.Names) == 0 {
			return nil, false
		}
		for _, name := range field.Names {
			if name.Name == "_" {
				return nil, false
			}
			argument := name.Name
			if _, variadic := field.Type.(*ast.Ellipsis); variadic {
				argument += "..."
			}
			arguments = append(arguments, argument)
		}
	}
	return arguments, true
}

// write writes files into a directory, and returns an overlay of them for the go command.
func write(work string, files map[string]string) (overlay map[string]string, err error) {
	overlay = make(map[string]string)
	for path, source := range files {
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		overlay[path] = filepath.Join(work, fmt.Sprintf("%d-%s", len(overlay), filepath.Base(path)))
		if err := os.WriteFile(overlay[path], []byte(source), 0o600); err != nil {
			return nil, err
		}
	}
	return overlay, nil
}
