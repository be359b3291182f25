//go:build linux

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/cli/terminal"
	"superctl/plain"
	"superctl/setup"
	"superctl/setup/importer"
)

// maxImport is the size of the largest file that is imported, in bytes.
const maxImport = 1 << 20

// readFrom imports a file or, if there is no such file, a unit of systemd.
func (s *setUp) readFrom(from string) error {
	source := importer.Source{Open: readSmall}
	if path, err := filepath.Abs(from); err == nil {
		text, err := readSmall(path)
		if err == nil {
			s.from, err = source.Read(importer.File{Path: path, Text: text})
			return err
		}
		if !errors.Is(err, fs.ErrNotExist) || strings.Contains(from, "/") {
			return err
		}
	}
	files := importer.FindUnit(from, readSmall, listDir)
	if len(files) == 0 {
		return fmt.Errorf("there is no file and no systemd unit %q", from)
	}
	s.unit = from
	if filepath.Ext(from) == "" {
		s.unit += ".service"
	}
	source.Name = s.unit
	var err error
	s.from, err = source.Read(files...)
	return err
}

func readSmall(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxImport {
		return "", fmt.Errorf("%s: not a regular file of at most %s", path, terminal.Size(int64(maxImport)))
	}
	data, err := os.ReadFile(path)
	return string(data), err
}

func listDir(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// imported prints what became of each line of an imported file.
func (pr printer) imported(im *setup.Import) {
	if im == nil {
		return
	}
	p := terminal.PaletteFor(pr.stdout)
	paint := map[setup.Verdict]func(string) string{setup.Kept: p.Green, setup.BuiltIn: p.Dim, setup.Dropped: p.Yellow}
	file := ""
	for _, l := range im.Lines {
		if l.File != file {
			file = l.File
			fmt.Fprintf(pr.stdout, "%s %s:\n", p.Bold("Imported"), plain.Line(file))
		}
		what := l.Key
		if l.Why != "" && what != "" {
			what += ": "
		}
		fmt.Fprintf(pr.stdout, "%4d  %s %s\n", l.From, paint[l.Verdict](fmt.Sprintf("%-8s", l.Verdict)), plain.Line(l.Text))
		if what += l.Why; what != "" {
			fmt.Fprintf(pr.stdout, "               %s\n", p.Dim(plain.Line(what)))
		}
	}
	fmt.Fprintln(pr.stdout)
}
