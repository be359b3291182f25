// Command figures prints how a tree of Go code is built: the numbers that show whether it stays
// readable. It reads the syntax only, so that any two commits can be compared:
//
//	make figures
//	git worktree add /tmp/before 3076baa && make figures DIR=/tmp/before
//	go run -C tools ./figures -check ..   fails if a type has more than 60 methods
//	go run -C tools ./figures -v ..       names the functions that are too long or branch too much
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fzipp/gocyclo"
)

const (
	longFunction = 40  // lines
	manyBranches = 15  // cyclomatic complexity
	longLine     = 120 // characters
	mostMethods  = 60  // of a type, for -check
)

func main() {
	verbose := flag.Bool("v", false, "name the functions that are too long or branch too much")
	check := flag.Bool("check", false, "print nothing, and fail if a type has too many methods")
	flag.Parse()
	dir := cmp.Or(flag.Arg(0), ".")
	f := figures{fset: token.NewFileSet(), methods: make(map[string]int)}
	if err := f.read(dir); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
	if name, n := f.largestType(); *check {
		if n > mostMethods {
			fmt.Fprintf(os.Stderr, "figures: %s has %d methods; the most is %d: split it\n", name, n, mostMethods)
			os.Exit(1)
		}
		return
	}
	f.print()
	if *verbose {
		slices.Sort(f.toShorten)
		fmt.Println(strings.Join(f.toShorten, "\n"))
	}
}

// figures are those of the product: e2e, bench and tools count as tests or not at all.
type figures struct {
	fset *token.FileSet

	files, code, comments, tests, longLines int
	inCli                                   int
	closures                                int // that are given to the owner goroutine
	functions, longFunctions, branchy       int
	methods                                 map[string]int // of each type, by package.Type
	toShorten                               []string       // functions over a limit, with the figure
}

func (f *figures) read(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			name := e.Name()
			if rel != "." &&
				(strings.HasPrefix(name, ".") || slices.Contains(
					[]string{"testdata", "vendor", "bench", "tools"}, name,
				)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return f.file(filepath.ToSlash(rel), text)
	})
}

func (f *figures) file(rel string, text []byte) error {
	lines := bytes.Count(text, []byte("\n"))
	if strings.HasPrefix(rel, "e2e/") || strings.HasSuffix(rel, "_test.go") {
		f.tests += lines
		return nil
	}
	tree, err := parser.ParseFile(f.fset, rel, text, parser.ParseComments)
	if err != nil {
		return err
	}
	if ast.IsGenerated(tree) {
		return nil
	}
	f.files++
	f.code += lines
	if filepath.Dir(rel) == "cli" {
		f.inCli++
	}
	for line := range bytes.Lines(text) {
		if utf8.RuneCount(bytes.ReplaceAll(bytes.TrimRight(line, "\n"), []byte("\t"), []byte("    "))) > longLine {
			f.longLines++
		}
	}
	f.comments += f.commentLines(rel, text)
	for _, s := range gocyclo.AnalyzeASTFile(tree, f.fset, nil) {
		if s.Complexity > manyBranches {
			f.branchy++
			f.toShorten = append(f.toShorten, fmt.Sprintf("%s: %s: %d branches", s.Pos, s.FuncName, s.Complexity))
		}
	}
	f.declarations(tree)
	return nil
}

// commentLines counts the lines that have nothing but a comment.
func (f *figures) commentLines(rel string, text []byte) (n int) {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile(rel, -1, len(text))
	s.Init(file, text, nil, scanner.ScanComments)
	last := 0 // line of the last token that is no comment
	for {
		pos, tok, lit := s.Scan()
		switch line := file.Line(pos); {
		case tok == token.EOF:
			return n
		case tok == token.COMMENT && line != last:
			n += 1 + strings.Count(strings.TrimSuffix(lit, "\n"), "\n")
		case tok == token.COMMENT, tok == token.SEMICOLON && lit == "\n":
		default:
			last = line + strings.Count(lit, "\n")
		}
	}
}

func (f *figures) declarations(tree *ast.File) {
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			f.functions++
			start := f.fset.Position(n.Pos())
			if lines := f.fset.Position(n.End()).Line - start.Line + 1; lines > longFunction {
				f.longFunctions++
				f.toShorten = append(f.toShorten, fmt.Sprintf("%s: %s: %d lines", start, n.Name.Name, lines))
			}
			if n.Recv != nil {
				f.methods[tree.Name.Name+"."+typeName(n.Recv.List[0].Type)]++
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "do" && tree.Name.Name == "supervisor" &&
				len(n.Args) == 1 {
				if _, literal := n.Args[0].(*ast.FuncLit); literal {
					f.closures++
				}
			}
		}
		return true
	})
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

func (f *figures) largestType() (largest string, most int) {
	for name, n := range f.methods {
		if n > most || n == most && name < largest {
			largest, most = name, n
		}
	}
	return largest, most
}

func (f *figures) print() {
	largest, most := f.largestType()
	share := func(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }
	for _, row := range []struct {
		name  string
		value string
	}{
		{"methods of the largest type", fmt.Sprintf("%d (%s)", most, largest)},
		{"closures into the owner", fmt.Sprint(f.closures)},
		{"functions over 40 lines", fmt.Sprintf("%d of %d", f.longFunctions, f.functions)},
		{"functions over 15 branches", fmt.Sprint(f.branchy)},
		{"lines over 120 characters", fmt.Sprintf("%d (%.1f %%)", f.longLines, share(f.longLines, f.code))},
		{"comment lines", fmt.Sprintf("%.1f %%", share(f.comments, f.code))},
		{
			"test to code lines",
			fmt.Sprintf("%.2f (%d to %d)", float64(f.tests)/float64(max(f.code, 1)), f.tests, f.code),
		},
		{"files in cli", fmt.Sprint(f.inCli)},
		{"files", fmt.Sprint(f.files)},
	} {
		fmt.Printf("%-30s %s\n", row.name, row.value)
	}
}
