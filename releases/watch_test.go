package releases

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheLossOfAReleaseIsNoticed(t *testing.T) {
	for name, lose := range map[string]func(path, python string) error{
		"it is removed": func(path, _ string) error { return os.RemoveAll(path) },
		"it is renamed": func(path, _ string) error { return os.Rename(path, path+".old") },
		"its virtualenv is renamed": func(path, _ string) error {
			return os.Rename(path+"/venv", path+"/venv.old")
		},
		"its interpreter is removed": func(path, _ string) error {
			return os.Remove(path + "/venv/bin/python")
		},
		"what its interpreter is is removed": func(_, python string) error { return os.Remove(python) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, system := t.TempDir(), t.TempDir()
			path, python := filepath.Join(dir, "r1"), filepath.Join(system, "python3")
			write(t, filepath.Join(path, "venv", "pyvenv.cfg"), "")
			write(t, python, "")
			if err := os.MkdirAll(filepath.Join(path, "venv", "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(python, filepath.Join(path, "venv", "bin", "python")); err != nil {
				t.Fatal(err)
			}
			works, err := os.Open(path) // as a worker does whose directory it is
			if err != nil {
				t.Fatal(err)
			}
			defer works.Close()
			ctx, stop := context.WithCancel(t.Context())
			changed, ended := make(chan struct{}, 1000), make(chan error, 1)
			go func() { ended <- (&Store{Dir: dir}).Watch(ctx, path, func() { changed <- struct{}{} }) }()
			<-changed
			if err := lose(path, python); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
			case <-time.After(time.Minute):
				t.Error("nothing was noticed")
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
