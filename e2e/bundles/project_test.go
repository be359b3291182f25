package bundles

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"superctl/e2e/apps"
)

// must ends the test.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes files below dir from pairs of path and content.
func write(t *testing.T, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[i+1]), 0o644)))
	}
}

// commit commits everything in dir, with a fixed time.
func commit(t *testing.T, dir string) {
	t.Helper()
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "a change")
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE=1764058615 +0000", "GIT_COMMITTER_DATE=1764058615 +0000",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// djangoProject makes a checkout of the Django site of all tests, with compiled dependencies and a
// lock file with hashes.
func djangoProject(t *testing.T, dir string) {
	t.Helper()
	must(t, apps.Project(dir))
	must(t, os.CopyFS(dir, os.DirFS("testdata/django")))
	commit(t, dir)
}

// flaskProject makes a checkout of a small Flask site that is itself a package, with lock files of
// all kinds.
func flaskProject(t *testing.T, dir string) {
	t.Helper()
	must(t, os.CopyFS(dir, os.DirFS("testdata/flask")))
	commit(t, dir)
}

// built is the output of `superctl build --json`.
type built struct {
	Result, File, Name, Version, SHA256, Error, Signed string
	Changed, Dirty                                     bool
	Bytes                                              int64
	Wheels                                             int
	Warnings                                           []string
	Steps                                              []struct{ Name, Detail string }

	stderr string
}

// step returns the detail of a build step.
func (b *built) step(name string) string {
	for _, s := range b.Steps {
		if s.Name == name {
			return s.Detail
		}
	}
	return ""
}

// command returns a superctl command with uv in its PATH, but without the servers.
func command(t *testing.T, cache string, args ...string) *exec.Cmd {
	t.Helper()
	tools := t.TempDir()
	must(t, os.Symlink(filepath.Join(run.Apps.Cache, "bin", "uv"), filepath.Join(tools, "uv")))
	cmd := exec.Command(run.Binary, args...)
	cmd.Env = append(os.Environ(), "SUPERCTL_CACHE="+cache, "PATH="+tools+":"+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
	return cmd
}

// cache returns the cache of all tests, so that each download happens once.
func cache() string { return filepath.Join(run.Dir, "cache") }

// python returns the interpreter that everything is built for: that of the servers, not of an
// active virtualenv.
func python(t *testing.T) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(run.Apps.Cache, "bin", "python"))
	must(t, err)
	return path
}

// build builds dir and checks the exit code.
func build(t *testing.T, code int, cache, dir string, args ...string) built {
	t.Helper()
	return outcome(t, code,
		command(t, cache, append([]string{"build", dir, "--json", "--python", python(t)}, args...)...))
}

func outcome(t *testing.T, code int, cmd *exec.Cmd) built {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	b := built{stderr: stderr.String()}
	if bad := json.Unmarshal(stdout.Bytes(), &b); cmd.ProcessState.ExitCode() != code || bad != nil {
		t.Fatalf("%s: exit code %d, want %d (%v)\n%s%s", strings.Join(cmd.Args, " "), cmd.ProcessState.ExitCode(), code,
			bad, stdout.Bytes(), stderr.Bytes())
	}
	return b
}

// manifest is the part of a bundle's manifest that the tests check.
type manifest struct {
	Name, Version, Commit, Builder string
	Python                         struct{ Implementation, Version, ABI, Platform, Libc string }
	Lock                           struct{ Name, SHA256 string }
	Processes                      []string
	Smoke                          [][]string
	Members                        []struct{ Path, SHA256 string }
}

// wheels returns the wheels of a bundle with their hashes.
func (m *manifest) wheels() map[string]string {
	all := make(map[string]string)
	for _, e := range m.Members {
		if name, ok := strings.CutPrefix(e.Path, "wheels/"); ok {
			all[name] = e.SHA256
		}
	}
	return all
}

// project returns the project's files in a bundle.
func (m *manifest) project() (list []string) {
	for _, e := range m.Members {
		if name, ok := strings.CutPrefix(e.Path, "project/"); ok {
			list = append(list, name)
		}
	}
	return list
}

// open reads a bundle with common tools: it is a zstd-compressed tar archive.
func open(t *testing.T, path string) (m manifest, content map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	must(t, err)
	defer z.Close()
	content = make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1764058615 {
			t.Errorf("%s belongs to %d:%d and is of %s", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		content[h.Name] = string(data)
	}
	must(t, json.Unmarshal([]byte(content["manifest.json"]), &m))
	return m, content
}

// same ends the test unless two files have the same content.
func same(t *testing.T, a, b string) {
	t.Helper()
	if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, diff(t, a, b))
	}
}

func diff(t *testing.T, a, b string) string {
	one, _ := open(t, a)
	two, _ := open(t, b)
	return fmt.Sprintf("%+v\n%+v", one, two)
}
