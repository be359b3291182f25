package wheel

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// virtualenv creates a virtualenv as an install does, at a path other than its final one.
func virtualenv(t *testing.T) (*Virtualenv, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "venv")
	cmd := exec.Command("/usr/bin/python3", "-I", "-m", "venv", "--without-pip", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	libs, err := filepath.Glob(filepath.Join(dir, "lib", "python3*", "site-packages"))
	must(t, err)
	lib, err := filepath.Rel(dir, libs[0])
	must(t, err)
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	headers := "include/site/" + filepath.Base(filepath.Dir(lib))
	v, err := Open(root, Scheme{Purelib: lib, Platlib: lib, Headers: headers, Scripts: "bin"})
	must(t, err)
	return v, dir
}

// likeOne creates a directory that resembles a virtualenv, for tests that run nothing in it.
func likeOne(t *testing.T) (*Virtualenv, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "venv")
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	for _, name := range []string{"bin/python", "pyvenv.cfg"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	v, err := Open(root, Scheme{Purelib: "lib", Platlib: "lib64", Headers: "include", Scripts: "bin"})
	must(t, err)
	return v, dir
}

// archive creates a zip of names and contents; a name that ends with * is executable.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		name, executable := strings.CutSuffix(files[i], "*")
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o644)
		if executable {
			h.SetMode(0o755)
		}
		w, err := z.CreateHeader(h)
		must(t, err)
		_, err = w.Write([]byte(files[i+1]))
		must(t, err)
	}
	must(t, z.Close())
	return b.Bytes()
}

const about = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

// wheelOf creates a wheel of the files.
func wheelOf(t *testing.T, name string, files ...string) []byte {
	t.Helper()
	distribution, _, _ := strings.Cut(name, "-")
	info := distribution + "-1.0.dist-info/"
	metadata := "Metadata-Version: 2.1\nName: " + distribution + "\nVersion: 1.0\n"
	return archive(t, append([]string{info + "WHEEL", about, info + "METADATA", metadata}, files...)...)
}

func add(v *Virtualenv, name string, data []byte) error {
	return v.Add(name, bytes.NewReader(data), int64(len(data)))
}

const toolName = "tool-1.0-py3-none-any.whl"

// toolWheel returns a wheel with everything that a wheel may contain.
func toolWheel(t *testing.T) []byte {
	return wheelOf(t, toolName,
		"tool/__init__.py", "import sys\ndef main():\n    print('tool', sys.prefix, sys.argv[1:])\n"+
			"    return 3\nclass A:\n    run = staticmethod(main)\n",
		"tool/helper*", "#!/bin/sh\n",
		"tool-1.0.dist-info/entry_points.txt", "; a comment\n[console_scripts]\ntool = tool:main\n"+
			"tool-class=tool:A.run [extra]\n\n[gunicorn.loggers]\nx = y\n",
		"tool-1.0.dist-info/RECORD", "tool/__init__.py,,\ntool/helper,,\ntool-1.0.dist-info/WHEEL,,\n"+
			"tool-1.0.dist-info/METADATA,,\ntool-1.0.dist-info/entry_points.txt,,\n",
		"tool-1.0.data/scripts/own*", "#!python\nimport tool\ntool.main()\n",
		"tool-1.0.data/scripts/shell*", "#!/bin/sh\necho shell\n",
		"tool-1.0.data/data/share/man/tool.1", ".TH",
		"tool-1.0.data/headers/tool.h", "int x;",
		"tool-1.0.data/purelib/more.py", "x = 1\n")
}

// content lists the files of a virtualenv that come from wheels, with mode and text.
func content(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		others := []string{"pyvenv.cfg", "REQUESTED", "direct_url.json", "INSTALLER", "RECORD"}
		activate := strings.Contains(strings.ToLower(d.Name()), "activate")
		if err != nil || !d.Type().IsRegular() || activate || slices.Contains(others, d.Name()) {
			return err
		}
		st, err := d.Info()
		must(t, err)
		text, err := os.ReadFile(path)
		must(t, err)
		rel, err := filepath.Rel(dir, path)
		relocated := strings.ReplaceAll(string(text), dir, "DIR")
		files = append(files, fmt.Sprintf("%s %v %q", rel, st.Mode()&0o111, relocated))
		return err
	}))
	return files
}

func TestAWheelIsInstalledAsPipDoesIt(t *testing.T) {
	v, ours := virtualenv(t)
	must(t, add(v, toolName, toolWheel(t)))
	must(t, v.Finish(filepath.Join(ours, "bin", "python")))

	_, theirs := virtualenv(t)
	path := filepath.Join(t.TempDir(), toolName)
	must(t, os.WriteFile(path, toolWheel(t), 0o644))
	cmd := exec.Command(filepath.Join(theirs, "bin", "python"), pipWheel(t)+"/pip", "install",
		"--no-index", "--no-deps", "--no-compile", "--quiet", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if a, b := content(t, ours), content(t, theirs); !slices.Equal(a, b) || len(a) < 11 {
		t.Errorf("ours:\n%s\npip's:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

// pipWheel returns the path of the pip that comes with Python.
func pipWheel(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("/usr/bin/python3", "-I", "-c", `import glob, sysconfig
print((glob.glob("/usr/share/python-wheels/pip-*.whl") +
       glob.glob(sysconfig.get_path("stdlib") + "/ensurepip/_bundled/pip-*.whl"))[0])`).CombinedOutput()
	if err != nil {
		t.Fatalf("there is no pip to compare with: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestRECORDIsCorrect reads RECORD with Python's own parser.
func TestRECORDIsCorrect(t *testing.T) {
	v, dir := virtualenv(t)
	must(t, add(v, toolName, toolWheel(t)))
	must(t, v.Finish(filepath.Join(dir, "bin", "python")))
	script := `
import base64, hashlib, importlib.metadata
n = 0
for f in importlib.metadata.distribution("tool").files:
    data = f.locate().read_bytes()
    n += 1
    if f.name != "RECORD":
        assert f.size == len(data), f
        assert f.hash.value == base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode(), f
print(n)`
	out, err := exec.Command(filepath.Join(dir, "bin", "python"), "-c", script).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "14" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestScriptsMoveWithTheVirtualenv(t *testing.T) {
	for _, where := range []string{"final", "with a blank", strings.Repeat("long", 40)} {
		v, dir := virtualenv(t)
		must(t, add(v, toolName, toolWheel(t)))
		must(t, v.Finish(filepath.Join(dir, "bin", "python")))
		final := filepath.Join(filepath.Dir(dir), where)
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				err = os.Chmod(path, 0o555)
			}
			return err
		}))
		must(t, v.Finish(filepath.Join(final, "bin", "python")))
		must(t, os.Rename(dir, final))
		for _, name := range []string{"tool", "own"} {
			st, err := os.Stat(filepath.Join(final, "bin", name))
			must(t, err)
			out, err := exec.Command(filepath.Join(final, "bin", name), "x").CombinedOutput()
			if want := fmt.Sprintf("tool %s ['x']\n", final); string(out) != want || st.Mode() != 0o555 {
				t.Errorf("%s in %s: %v %v %s", name, where, st.Mode(), err, out)
			}
		}
	}
}

func TestAnInvalidWheelIsRefused(t *testing.T) {
	const entryPointsFile = "a-1.0.dist-info/entry_points.txt"
	program := func(line string) []byte { return wheelOf(t, "a-1", entryPointsFile, "[console_scripts]\n"+line+"\n") }
	ok := wheelOf(t, "a-1.0-py3-none-any.whl", "a.py", "x = 1")
	lying := bytes.ReplaceAll(ok, []byte{5, 0, 0, 0}, []byte{4, 0, 0, 0}) // the sizes of a.py
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"a path outside":       {wheelOf(t, "a-1", "../../evil.py", ""), "leads outside"},
		"an absolute path":     {wheelOf(t, "a-1", "/etc/evil.py", ""), "leads outside"},
		"data outside":         {wheelOf(t, "a-1", "a-1.0.data/data/../../evil", ""), "leads outside"},
		"the interpreter":      {wheelOf(t, "a-1", "a-1.0.data/scripts/python", ""), "would replace bin/python"},
		"the config":           {wheelOf(t, "a-1", "a-1.0.data/data/pyvenv.cfg", ""), "would replace pyvenv.cfg"},
		"a program outside":    {program("../../x = a:b"), "is not an entry point"},
		"code in a program":    {program("x = a:b;c"), "is not an entry point"},
		"a program for python": {program("python = a:b"), "would replace bin/python"},
		"the same file twice":  {wheelOf(t, "a-1", "a.py", "", "a.py", ""), "occurs twice"},
		"nowhere":              {wheelOf(t, "a-1", "a-1.0.data/etc/x", ""), "unknown destination"},
		"another's metadata":   {wheelOf(t, "b-1"), "is not what its name says"},
		"two metadata":         {wheelOf(t, "a-1", "b-1.0.dist-info/WHEEL", about), "two directories of metadata"},
		"no metadata":          {archive(t, "a.py", ""), "it is not a wheel"},
		"a later format":       {archive(t, "a-1.0.dist-info/WHEEL", "Wheel-Version: 2.0\n"), "has version 2.0"},
		"no archive":           {[]byte("PK"), "not a zip archive"},
		"a cut archive":        {ok[:len(ok)-30], "not a zip archive"},
		"a size that is wrong": {lying, ""},
		"a damaged archive":    {bytes.Replace(ok, []byte("a.py"), []byte("b.py"), 1), ""},
	} {
		v, dir := likeOne(t)
		err := add(v, "a-1.0-py3-none-any.whl", c.data)
		if name == "a damaged archive" && err == nil {
			continue // the name in front of a file is not used
		}
		const prefix = "wheel a-1.0-py3-none-any.whl: "
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), prefix) {
			t.Errorf("%s: %v", name, err)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "..", "evil*")); len(found) > 0 {
			t.Errorf("%s: %s was written", name, found)
		}
	}
}

func TestOfTwoWheelsWithTheSameFileTheLaterOneWins(t *testing.T) {
	v, dir := likeOne(t)
	for _, name := range []string{"a", "b"} {
		data := wheelOf(t, name+"-1", "shared/__init__.py", name,
			name+"-1.0.dist-info/entry_points.txt", "[console_scripts]\nx = "+name+":main\n")
		must(t, add(v, name+"-1.0-py3-none-any.whl", data))
	}
	must(t, v.Finish(filepath.Join(dir, "bin", "python")))
	const conflict = "is in a-1.0-py3-none-any.whl and in b-1.0-py3-none-any.whl, which wins"
	if len(v.Conflicts) != 2 || !strings.Contains(v.Conflicts[0], conflict) {
		t.Error(v.Conflicts)
	}
	text := strings.Join(content(t, dir), "\n")
	won := strings.Contains(text, `shared/__init__.py 0 "b"`) ||
		strings.Contains(text, `shared/__init__.py ---------- "b"`)
	if !won || !strings.Contains(text, "from b import main") {
		t.Error(text)
	}
}

func FuzzWheel(f *testing.F) {
	f.Add(wheelOf(&testing.T{}, "a-1", "a.py", "x = 1"))
	f.Add(toolWheel(&testing.T{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, dir := likeOne(t)
		top := filepath.Dir(dir)
		if add(v, "tool-1.0-py3-none-any.whl", data) == nil {
			if err := v.Finish("/x/python"); err != nil {
				t.Error(err)
			}
		}
		if found, err := os.ReadDir(top); err != nil || len(found) != 1 {
			t.Errorf("%v %v", found, err)
		}
	})
}
