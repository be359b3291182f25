// Package apps makes releases of the test project: a small real Django site with a virtualenv in
// each release.
//
// Making a release takes some milliseconds, because its virtualenv is a copy of the cache of
// scripts/deps without the packages, and finds those by a .pth file. What superctl reads of a
// virtualenv belongs to the release and is as pip leaves it: the interpreter's path, pyvenv.cfg, and
// console scripts with that interpreter (uWSGI, which is not a script, is a copy). Releases share
// only the code of the packages, as if each had installed the same lock file.
//
// It runs no program, and knows nothing of superctl.
package apps

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed all:shop
var project embed.FS

// Fault is how a release misbehaves.
type Fault string

// The faults. Those in shop/release.py happen in the application; Builder makes the others.
const (
	Good             Fault = ""
	ImportError      Fault = "import-error"
	Error500         Fault = "error-500"
	Slow             Fault = "slow"
	Hang             Fault = "hang"
	Sometimes        Fault = "sometimes"
	DiesAfterCutover Fault = "dies-after-cutover"

	ExitsAtOnce      Fault = "exits-at-once"     // the server's program prints why and exits with code 7
	ExitsLater       Fault = "exits-later"       // the same after Seconds, without having served
	ListensElsewhere Fault = "listens-elsewhere" // the server ignores its descriptor and binds its own port
	NoVirtualenv     Fault = "no-virtualenv"     // as before pip has run
	HalfCopied       Fault = "half-copied"       // as during a copy: .incomplete exists, and files are missing
	Unreadable       Fault = "unreadable"        // mode 0, for a user other than root
)

// Behaviour is what a release does other than serve.
type Behaviour struct {
	ImportSeconds    float64 `json:"import_seconds,omitempty"`     // the import sleeps
	ImportCPUSeconds float64 `json:"import_cpu_seconds,omitempty"` // the import computes
	Fault            Fault   `json:"fault,omitempty"`
	Instance         string  `json:"instance,omitempty"` // only this instance has the fault; "" = all
	Seconds          float64 `json:"seconds,omitempty"`  // of the faults that take time
	// DiesAfterCutover: a file; once it exists, the release exits at its start
	Marker string `json:"marker,omitempty"`
	// of the app catalogue, which exists only with migrations
	Migrations []Migration `json:"migrations,omitempty"`
}

// Builder makes releases from the packages in Cache, the directory that scripts/deps prints.
type Builder struct{ Cache string }

// Release makes a release in dir, which must not exist.
func (b Builder) Release(dir string, be Behaviour) error {
	if err := b.release(dir, be); err != nil {
		return fmt.Errorf("make release %s: %w", dir, err)
	}
	return nil
}

func (b Builder) release(dir string, be Behaviour) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := Project(dir); err != nil {
		return err
	}
	if err := catalogue(dir, be.Migrations); err != nil {
		return err
	}
	behaviour, err := json.MarshalIndent(be, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "release.json"), behaviour, 0o644); err != nil {
		return err
	}
	if be.Fault != NoVirtualenv {
		if err := b.virtualenv(filepath.Join(dir, "venv"), be); err != nil {
			return err
		}
	}
	switch be.Fault {
	case HalfCopied:
		return errors.Join(os.WriteFile(filepath.Join(dir, ".incomplete"), nil, 0o644),
			os.Remove(filepath.Join(dir, "shop", "urls.py")))
	case Unreadable:
		return os.Chmod(dir, 0)
	default:
		return nil
	}
}

// Virtualenv makes the virtualenv of a release of another project.
func (b Builder) Virtualenv(dir string) error { return b.virtualenv(dir, Behaviour{}) }

// Project writes the project into dir, without the parts that make it a release.
func Project(dir string) error {
	return fs.WalkDir(project, "shop", func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, strings.TrimPrefix(path, "shop"))
		switch {
		case err != nil:
			return err
		case d.Name() == "__pycache__":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		content, err := project.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
}

// servers returns the programs that each release has a copy of, if they are in the cache.
func servers() []string {
	return []string{
		"gunicorn", "uvicorn", "django-admin", "celery", "hypercorn", "granian", "daphne", "waitress-serve",
		"cheroot",
	}
}

func (b Builder) virtualenv(venv string, be Behaviour) error {
	own, err := b.emptyVirtualenv(venv)
	if err != nil {
		return fmt.Errorf("virtualenv: the cache of scripts/deps: %w", err)
	}
	shared := filepath.Join(b.Cache, "lib", filepath.Base(filepath.Dir(own)), "site-packages")
	if err := os.WriteFile(filepath.Join(own, "cache.pth"), []byte(shared+"\n"), 0o644); err != nil {
		return err
	}
	for _, name := range servers() {
		if err := b.script(venv, name, be); err != nil {
			return err
		}
	}
	uwsgi, err := os.ReadFile(filepath.Join(b.Cache, "bin", "uwsgi"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not installed
	}
	if err != nil {
		return err
	}
	// A copy, because uWSGI finds its virtualenv next to its own executable, with links resolved.
	return WriteExecutable(filepath.Join(venv, "bin", "uwsgi"), uwsgi)
}

// script writes a console script as pip does: the cache's, with this virtualenv's interpreter.
func (b Builder) script(venv, name string, be Behaviour) error {
	content, err := os.ReadFile(filepath.Join(b.Cache, "bin", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not installed
	}
	if err != nil {
		return err
	}
	_, body, _ := strings.Cut(string(content), "\n")
	script := "#!" + filepath.Join(venv, "bin", "python") + "\n"
	switch be.Fault {
	case ExitsAtOnce:
		script += "import sys\nprint('fatal: the licence has run out', file=sys.stderr)\nsys.exit(7)\n"
	case ExitsLater:
		script += fmt.Sprintf(
			"import sys, time\nprint('waiting for the database', file=sys.stderr, flush=True)\ntime.sleep(%g)\n",
			be.Seconds) +
			"print('fatal: no database', file=sys.stderr)\nsys.exit(1)\n"
	case ListensElsewhere:
		script += "import os, sys\nos.environ.pop('LISTEN_FDS', None)\n" +
			"sys.argv[1:1] = ['--bind', '127.0.0.1:0'] if 'gunicorn' in sys.argv[0] else ['--port', '0']\n"
	default:
	}
	return WriteExecutable(filepath.Join(venv, "bin", name), []byte(script+body))
}

// InApplication reports whether the fault happens in the application, with any server.
func (f Fault) InApplication() bool {
	return slices.Contains([]Fault{ImportError, Error500, Slow, Hang, Sometimes, DiesAfterCutover}, f)
}
