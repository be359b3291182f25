package drill

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
)

// emptyVirtualenv creates a virtualenv with the programs of another one but without its packages.
// The new one does not refer to the other.
func emptyVirtualenv(from, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "bin"), 0o755); err != nil { // workers of another user run from it
		return err
	}
	packages, err := filepath.Glob(filepath.Join(from, "lib", "python3*"))
	if err != nil {
		return err
	}
	for _, dir := range packages {
		site := filepath.Join(to, "lib", filepath.Base(dir), "site-packages")
		if err := os.MkdirAll(site, 0o755); err != nil { // likewise
			return err
		}
	}
	if err := copyProgram(filepath.Join(from, "pyvenv.cfg"), filepath.Join(to, "pyvenv.cfg"), from, to); err != nil {
		return err
	}
	return copyPrograms(from, to)
}

// copyPrograms copies the programs of a virtualenv. The interpreter is a link to the system's.
func copyPrograms(from, to string) error {
	entries, err := os.ReadDir(filepath.Join(from, "bin"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		program, copied := filepath.Join(from, "bin", e.Name()), filepath.Join(to, "bin", e.Name())
		switch {
		case e.Type() == fs.ModeSymlink:
			target, errLink := filepath.EvalSymlinks(program)
			if errLink != nil {
				continue
			}
			err = os.Symlink(target, copied)
		case e.Type().IsRegular():
			err = copyProgram(program, copied, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyProgram copies a file with its mode. It replaces the path of the virtualenv in a script.
func copyProgram(program, copied, from, to string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(data, []byte("#!")) || filepath.Base(program) == "pyvenv.cfg" {
		data = bytes.ReplaceAll(data, []byte(from), []byte(to))
	}
	st, err := os.Stat(program)
	if err != nil {
		return err
	}
	return os.WriteFile(copied, data, st.Mode().Perm())
}
