package drill

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
)

// emptyVirtualenv makes a virtualenv with the programs of another one and none of its packages. Nothing of it leads to the other.
func emptyVirtualenv(from, to string) error {
	bin := filepath.Join(to, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // workers of another user run from it
		return err
	}
	packages, err := filepath.Glob(filepath.Join(from, "lib", "python3*"))
	if err != nil {
		return err
	}
	for _, dir := range packages {
		if err := os.MkdirAll(filepath.Join(to, "lib", filepath.Base(dir), "site-packages"), 0o755); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	if err := copyProgram(filepath.Join(from, "pyvenv.cfg"), filepath.Join(to, "pyvenv.cfg"), from, to); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(from, "bin"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		program := filepath.Join(from, "bin", e.Name())
		if e.Type() == fs.ModeSymlink { // its interpreter
			target, err := filepath.EvalSymlinks(program)
			if err != nil {
				continue
			}
			if err := os.Symlink(target, filepath.Join(bin, e.Name())); err != nil {
				return err
			}
			continue
		}
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyProgram(program, filepath.Join(bin, e.Name()), from, to); err != nil {
			return err
		}
	}
	return nil
}

// copyProgram copies a file with its mode. The text of a script names the virtualenv that it is in.
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
	return os.WriteFile(copied, data, st.Mode().Perm()) //nolint:gosec // as it is in the release
}
