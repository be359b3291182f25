package apps

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// emptyVirtualenv makes what `python -m venv --without-pip` makes, and returns its site-packages. It copies the cache,
// which is a virtualenv too, without the packages: to start Python for each release takes twenty times as long.
func (b Builder) emptyVirtualenv(venv string) (packages string, err error) {
	base, err := filepath.EvalSymlinks(filepath.Join(b.Cache, "bin", "python3"))
	if err != nil {
		return "", err
	}
	libraries, err := filepath.Glob(filepath.Join(b.Cache, "lib", "python3.*"))
	if err != nil || len(libraries) != 1 {
		return "", fmt.Errorf("its libraries: %v", libraries)
	}
	python := filepath.Base(libraries[0]) // such as python3.13
	packages = filepath.Join(venv, "lib", python, "site-packages")
	err = errors.Join(os.MkdirAll(packages, 0o755), os.MkdirAll(filepath.Join(venv, "include", python), 0o755),
		os.Mkdir(filepath.Join(venv, "bin"), 0o755), os.Symlink("lib", filepath.Join(venv, "lib64")),
		os.Symlink(base, filepath.Join(venv, "bin", python)), os.Symlink(python, filepath.Join(venv, "bin", "python3")),
		os.Symlink(python, filepath.Join(venv, "bin", "python")))
	if err != nil {
		return "", err
	}
	for _, name := range []string{"pyvenv.cfg", "bin/activate", "bin/activate.csh", "bin/activate.fish", "bin/Activate.ps1"} {
		if err := b.withItsPath(venv, name); err != nil {
			return "", err
		}
	}
	return packages, nil
}

// withItsPath copies a file of the cache into a virtualenv, and replaces the path of the cache in it with that of the
// virtualenv.
func (b Builder) withItsPath(venv, name string) error {
	content, err := os.ReadFile(filepath.Join(b.Cache, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this Python does not write it
	}
	if err != nil {
		return err
	}
	content = bytes.ReplaceAll(content, []byte(b.Cache), []byte(venv))
	content = bytes.ReplaceAll(content, []byte("("+filepath.Base(b.Cache)+")"), []byte("("+filepath.Base(venv)+")"))
	return os.WriteFile(filepath.Join(venv, name), content, 0o644)
}
