package install

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"superctl/beneath"
	"superctl/releases"
	"superctl/releases/bundle"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// project is what a bundle is made of in these tests: paths in it with their contents. A content
// that begins with -> is a link.
type project map[string]string

// wheelOf creates a wheel with a module and a program of the same name.
func wheelOf(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for file, text := range map[string]string{
		name + ".py":                             "def main():\n    print('" + name + " runs')\n",
		name + "-1.0.dist-info/WHEEL":            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
		name + "-1.0.dist-info/METADATA":         "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n",
		name + "-1.0.dist-info/entry_points.txt": "[console_scripts]\n" + name + " = " + name + ":main\n",
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: file, Method: zip.Store}) // the same bytes each time
		must(t, err)
		_, err = io.WriteString(w, text)
		must(t, err)
	}
	must(t, z.Close())
	return b.String()
}

// shop is a project with a dependency.
func shop(t *testing.T) project {
	return project{
		"project/app.py": "import tool\n", "project/static/logo.svg": "<svg/>", "project/logo": "->static/logo.svg",
		"project/template.py":              "{{ name }} =",
		"wheels/tool-1.0-py3-none-any.whl": wheelOf(t, "tool"),
	}
}

// write writes a bundle of the project.
func (p project) write(t *testing.T, path string, change func(*bundle.Manifest)) {
	t.Helper()
	m := here(t)
	for name, text := range p {
		e := bundle.Member{Path: name, Mode: 0o644, Size: int64(len(text))}
		if link, ok := strings.CutPrefix(text, "->"); ok {
			e = bundle.Member{Path: name, Link: link}
		} else {
			sum := sha256.Sum256([]byte(text))
			e.SHA256 = hex.EncodeToString(sum[:])
		}
		m.Members = append(m.Members, e)
	}
	if change != nil {
		change(m)
	}
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, bundle.Write(f, m, func(e bundle.Member) (io.ReadCloser,
		error,
	) {
		return io.NopCloser(strings.NewReader(p[e.Path])), nil
	}))
}

// here returns a manifest for the interpreter of this machine.
func here(t *testing.T) *bundle.Manifest {
	t.Helper()
	o := Options{Run: run}
	p, err := o.probe(t.Context(), "/usr/bin/python3")
	must(t, err)
	return &bundle.Manifest{
		Name: "shop", Version: "1.0", Commit: "4be9f00d4be9f00d4be9f00d4be9f00d4be9f00d",
		Built: time.Unix(1_700_000_000, 0),
		Python: bundle.Python{
			Implementation: p.Implementation, Version: p.Version, ABI: p.ABI, Platform: p.Platform,
			Libc: p.Libc,
		},
	}
}

// run runs a command as this user.
func run(ctx context.Context, c Command, line func(string)) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, []string{
		"PATH=" + filepath.Join(c.Dir, "venv", "bin") + ":/usr/bin:/bin",
		"PYTHONDONTWRITEBYTECODE=1",
	}
	if path, err := exec.LookPath(filepath.Join(c.Dir, "venv", "bin", c.Args[0])); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	for l := range strings.Lines(string(out)) {
		line(strings.TrimSuffix(l, "\n"))
	}
	return err
}

// options returns options for a new directory of releases.
func options(t *testing.T) Options {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Cleanup(func() { // its directories are read-only
		remove(t, dir, "releases")
	})
	must(t, os.Mkdir(filepath.Join(dir, "releases"), 0o755))
	return Options{
		Store: &releases.Store{Dir: filepath.Join(dir, "releases")}, Search: "/usr/bin", Run: run,
		FirstWait: time.Millisecond,
	}
}

func sign(t *testing.T, path string, key minisign.PrivateKey) {
	t.Helper()
	_, sum, err := bundle.Sum(path)
	must(t, err)
	must(t, bundle.Sign(path, sum, key, "a test"))
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	root, err := beneath.Open(dir)
	must(t, err)
	defer root.Close()
	must(t, root.RemoveAll(context.Background(), name)) // t.Context() has ended when a test is cleaned up
}

// names returns the names in the directory of releases.
func names(t *testing.T, o Options) string {
	t.Helper()
	entries, err := os.ReadDir(o.Store.Dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}
