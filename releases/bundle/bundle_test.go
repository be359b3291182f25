package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// contents maps the paths of a bundle to file contents.
type contents map[string]string

// sample returns a small valid bundle.
func sample() (*Manifest, contents) {
	files := contents{
		"project/manage.py":              "#!/usr/bin/env python\n",
		"project/shop/__init__.py":       "",
		"project/shop/wsgi.py":           "application = None\n",
		"wheels/Django-5.2-py3-none.whl": "a wheel",
	}
	m := &Manifest{
		Name: "shop", Version: "20261125-081655-9f3c2ab", Commit: strings.Repeat("9f3c2ab0", 5), Branch: "main",
		Built: time.Date(2026, 11, 25, 8, 16, 55, 0, time.UTC),
		Python: Python{
			Implementation: "cpython", Version: "3.11.2", ABI: "cp311", Platform: "linux-x86_64", Libc: "glibc 2.36",
		},
		Lock:      Lock{Name: "uv.lock", SHA256: hash("lock")},
		Processes: []string{"web"}, Smoke: [][]string{{"python", "manage.py", "check"}},
		Env: map[string]string{"DJANGO_SETTINGS_MODULE": "shop.settings"},
	}
	for p, text := range files {
		m.Members = append(m.Members, member(p, text))
	}
	for i := range m.Members {
		if strings.HasPrefix(m.Members[i].Path, Wheels) {
			m.Members[i].Unpacked = 100
		}
	}
	m.Members = append(m.Members, Member{Path: "project/shop/latest", Link: "../manage.py"})
	return m, files
}

func member(p, text string) Member {
	e := Member{Path: p, Mode: 0o644, Size: int64(len(text)), SHA256: hash(text)}
	if strings.HasSuffix(p, "manage.py") {
		e.Mode = 0o755
	}
	return e
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (c contents) open(e Member) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(c[e.Path])), nil
}

func written(t testing.TB, m *Manifest, files contents) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, m, files.open); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	m, files := sample()
	data := written(t, m, files)
	got := make(contents)
	read, err := Read(bytes.NewReader(data), Visitor{Member: func(e Member, r io.Reader) error {
		if e.Link != "" {
			return nil
		}
		text, err := io.ReadAll(r)
		got[e.Path] = string(text)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, read); diff != "" {
		t.Error("manifest (-written +read):\n" + diff)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Error("files (-written +read):\n" + diff)
	}
	first, err := ReadManifest(bytes.NewReader(data))
	if err != nil || first.Version != m.Version {
		t.Errorf("the manifest alone: %v, %v", first, err)
	}
}

func TestTheSameFilesMakeTheSameBytes(t *testing.T) {
	m, files := sample()
	data := written(t, m, files)
	other, _ := sample()
	slices.Reverse(other.Members)
	if !bytes.Equal(data, written(t, other, files)) {
		t.Error("the order of the members changed the bundle")
	}
}

func TestAFileThatChangesDuringTheBuildIsAnError(t *testing.T) {
	m, files := sample()
	for _, text := range []string{"", "other wheel", "B wheel"} {
		files["wheels/Django-5.2-py3-none.whl"] = text
		err := Write(io.Discard, m, files.open)
		if err == nil || !strings.Contains(err.Error(), "it changed while the bundle was built") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestUnpackMakesTheFilesWithFixedTimesAndModes(t *testing.T) {
	m, files := sample()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var done int64
	if _, err := Unpack(bytes.NewReader(written(t, m, files)), root, ".superctl/wheels", nil,
		func(n int64) { done += n }); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]struct {
		mode fs.FileMode
		text string
	}{
		"manage.py":    {0o755, files["project/manage.py"]},
		"shop/wsgi.py": {0o644, files["project/shop/wsgi.py"]},
		".superctl/wheels/Django-5.2-py3-none.whl": {0o644, "a wheel"},
		"shop/latest": {0o755, files["project/manage.py"]}, // through the link
	} {
		st, err := os.Stat(filepath.Join(dir, p))
		if err != nil {
			t.Error(err)
			continue
		}
		text, _ := os.ReadFile(filepath.Join(dir, p))
		if st.Mode().Perm() != want.mode || string(text) != want.text || !st.ModTime().Equal(m.Built) {
			t.Errorf("%s: %v %q %v", p, st.Mode(), text, st.ModTime())
		}
	}
	total := 0
	for _, text := range files {
		total += len(text)
	}
	if done != int64(total) {
		t.Errorf("%d bytes were reported, of %d", done, total)
	}
}

func TestAVisitorsErrorComesBackAsItIs(t *testing.T) {
	m, files := sample()
	data := written(t, m, files)
	mine := errors.New("mine")
	for name, v := range map[string]Visitor{
		"manifest": {Manifest: func(*Manifest) error { return mine }},
		"member":   {Member: func(Member, io.Reader) error { return mine }},
	} {
		if _, err := Read(bytes.NewReader(data), v); err != mine { //nolint:errorlint // unwrapped
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAManifestOfANewerFormatIsRefused(t *testing.T) {
	m, _ := sample()
	m.Format = Format + 1
	if err := m.Check(); err == nil || !strings.Contains(err.Error(), "install a newer superctl") {
		t.Errorf("got %v", err)
	}
}

func TestANameThatCannotBeADirectoryIsRefused(t *testing.T) {
	for _, bad := range []string{
		"", ".", "..", "a/b", "-x", ".hidden", "a b", "ä", "latest", "previous", strings.Repeat("x", 129),
	} {
		if CheckName("version", bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, good := range []string{"1", "20261125-081655-9f3c2ab", "1.2.3+local_1"} {
		if err := CheckName("version", good); err != nil {
			t.Error(err)
		}
	}
}
