//go:build linux

package movecommand

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"superctl/cli/terminal"
	"superctl/plain"
	"superctl/setup"
	"superctl/setup/importer"
)

// maxImport is the size of the largest file that is imported, in bytes.
const maxImport = 1 << 20

// readFrom imports what runs the app: each a file or, if there is no such file, a unit of systemd.
func (s *setUp) readFrom(all []string) error {
	for _, from := range all {
		one, err := s.importOne(from)
		if err != nil {
			return err
		}
		if s.from == nil {
			s.from = one
		} else {
			s.from.Merge(one)
		}
	}
	return nil
}

func (s *setUp) importOne(from string) (*setup.Import, error) {
	source := importer.Source{Open: readSmall, OpenProject: readOwn}
	if path, err := filepath.Abs(from); err == nil {
		text, err := readSmall(path)
		if err == nil {
			return s.importFile(source, importer.File{Path: path, Text: text})
		}
		if !errors.Is(err, fs.ErrNotExist) || strings.Contains(from, "/") {
			return nil, err
		}
	}
	files := importer.FindUnit(from, readSmall, listDir)
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no file and no systemd unit %q", from)
	}
	source.Name = from
	if filepath.Ext(from) == "" {
		source.Name += ".service"
	}
	one, err := source.Read(files...)
	if err == nil && len(one.Listen) > 0 {
		s.units = append([]string{source.Name}, s.units...) // the server's unit is the first
	} else {
		s.units = append(s.units, source.Name)
	}
	return one, err
}

// importFile imports a file that is not a unit of this machine.
func (s *setUp) importFile(source importer.Source, f importer.File) (*setup.Import, error) {
	one, err := source.Read(f)
	if err != nil || importer.KindOf(f) != importer.Supervisor {
		return one, err
	}
	for _, p := range one.Processes {
		if len(p.Listen) > 0 {
			s.programs = append([]string{p.Name}, s.programs...)
		} else {
			s.programs = append(s.programs, p.Name)
		}
	}
	return one, nil
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

// readOwn reads a small file that belongs to the owner of its directory. Root reads no other, so that a
// user cannot have root copy the content of another user's file.
func readOwn(path string) (string, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer root.Close()
	dir, err := root.Stat(".")
	if err != nil {
		return "", err
	}
	f, err := root.OpenFile(filepath.Base(path), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxImport || owner(st) != owner(dir) {
		return "", fmt.Errorf("%s: not a regular file of its directory's owner, of at most %s", path, terminal.Size(int64(maxImport)))
	}
	data, err := io.ReadAll(f)
	return string(data), err
}

// owner returns the number of a file's owner.
func owner(st os.FileInfo) uint32 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Uid
	}
	return ^uint32(0)
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
	p := terminal.PaletteFor(pr.Stdout)
	paint := map[setup.Verdict]func(string) string{setup.Kept: p.Green, setup.BuiltIn: p.Dim, setup.Dropped: p.Yellow}
	file := ""
	for _, l := range im.Lines {
		if l.File != file {
			file = l.File
			fmt.Fprintf(pr.Stdout, "%s %s:\n", p.Bold("Imported"), plain.Line(file))
		}
		what := l.Key
		if l.Why != "" && what != "" {
			what += ": "
		}
		fmt.Fprintf(pr.Stdout, "%4d  %s %s\n", l.From, paint[l.Verdict](fmt.Sprintf("%-8s", l.Verdict)), plain.Line(l.Text))
		if what += l.Why; what != "" {
			fmt.Fprintf(pr.Stdout, "               %s\n", p.Dim(plain.Line(what)))
		}
	}
	fmt.Fprintln(pr.Stdout)
}
