package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// forger writes bundles that Write refuses: a manifest, and members that may contradict it.
type forger struct {
	m     Manifest
	files []entry
	after []byte // data after the end of the archive
}

type entry struct {
	tar.Header
	text string
}

func newForger() *forger {
	m, _ := sample()
	m.Format, m.Members = Format, nil
	return &forger{m: *m}
}

// add adds a file both to the manifest and to the archive.
func (f *forger) add(p, text string) *forger { return f.list(member(p, text)).put(p, text) }

func (f *forger) list(e Member) *forger { f.m.Members = append(f.m.Members, e); return f }

func (f *forger) put(p, text string) *forger {
	return f.raw(tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: 0o644, Size: int64(len(text))}, text)
}

func (f *forger) raw(h tar.Header, text string) *forger {
	f.files = append(f.files, entry{h, text})
	return f
}

func (f *forger) link(p, target string) *forger {
	h := tar.Header{Typeflag: tar.TypeSymlink, Name: p, Linkname: target, Mode: 0o777}
	return f.list(Member{Path: p, Link: target}).raw(h, "")
}

// special adds a special file where the manifest lists a regular one.
func (f *forger) special(kind byte, p, target string) *forger {
	h := tar.Header{Typeflag: kind, Name: p, Linkname: target, Mode: 0o644, Devmajor: 1, Devminor: 3}
	return f.list(member(p, "")).raw(h, "")
}

func (f *forger) archive(t testing.TB) []byte {
	t.Helper()
	text, err := f.m.encode()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	manifest := tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Mode: 0o644, Size: int64(len(text))}
	for _, e := range append([]entry{{manifest, string(text)}}, f.files...) {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), f.after...)
}

func (f *forger) bundle(t testing.TB) []byte { return compressed(t, f.archive(t)) }

func compressed(t testing.TB, data []byte, opt ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, opt...)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(data, nil)
}

// hostile returns bundles that must be refused, each with a part of the reason.
func hostile(t testing.TB) map[string]struct {
	data []byte
	says string
} {
	type one = struct {
		data []byte
		says string
	}
	good, files := sample()
	whole := written(t, good, files)
	long := strings.Repeat("dddddddddddddddddddd/", 160) + "x"
	bomb := strings.Repeat("\x00", window+1)
	deep := newForger().add("project/a", "1")
	all := map[string]one{
		"a path with ..": {
			newForger().add("project/../../../etc/cron.d/x", "1").bundle(t), "leads outside",
		},
		"a path that begins with ..":   {newForger().add("../x", "1").bundle(t), "leads outside"},
		"an absolute path":             {newForger().add("/etc/passwd", "1").bundle(t), "leads outside"},
		"a path that is not clean":     {newForger().add("project//x", "1").bundle(t), "leads outside"},
		"a path with a direction mark": {newForger().add("project/a\u202egpj.py", "1").bundle(t), "not printable"},
		"escapes in a commit": {
			with(func(m *Manifest) { m.Commit = "\x1b[2J" }).bundle(t), "commit: one line of text is expected",
		},
		"escapes in a version of Python": {
			with(func(m *Manifest) { m.Python.Version = "3.\x1b]0;x\a" }).bundle(t),
			"python.version: one line of text is expected",
		},
		"a path with a newline":    {newForger().add("project/a\nb", "1").bundle(t), "not printable"},
		"a path that is not UTF-8": {newForger().add("project/a\xff", "1").bundle(t), "not printable"},
		"a path in no known place": {
			newForger().add("other/x", "1").bundle(t), "neither of the project nor a wheel",
		},
		"a path that is too long": {newForger().add("project/"+long, "1").bundle(t), "longer than"},
		"a name that is too long": {
			newForger().add("project/"+strings.Repeat("x", 256), "1").bundle(t), "longer than",
		},
		"a virtualenv of its own": {
			newForger().add("project/venv/bin/python", "1").bundle(t), "superctl makes venv itself",
		},
		"a release.toml of its own": {
			newForger().add("project/release.toml", "1").bundle(t), "superctl makes release.toml itself",
		},
		"a link to outside": {
			newForger().link("project/x", "../../etc").bundle(t), "leads outside the project",
		},
		"a link to an absolute path": {
			newForger().link("project/x", "/etc/passwd").bundle(t), "leads outside the project",
		},
		"a link up behind a name": {
			newForger().link("project/x", "a/../../..").bundle(t), "leads outside the project",
		},
		"a link up by one": {
			newForger().link("project/a/x", "../..").bundle(t), "leads outside the project",
		},
		"a link for a wheel": {
			newForger().link("wheels/x.whl", "../project/x").bundle(t), "only the project may have",
		},
		"a file below a link": {
			newForger().link("project/a", ".").add("project/a/x", "1").bundle(t), "which is not a directory",
		},
		"a file below a file": {
			newForger().add("project/a", "1").add("project/a/x", "1").bundle(t), "which is not a directory",
		},
		"a hard link": {
			newForger().special(tar.TypeLink, "project/x", "/etc/passwd").bundle(t), "not a regular file",
		},
		"a character device": {
			newForger().special(tar.TypeChar, "project/x", "").bundle(t), "not a regular file",
		},
		"a block device": {
			newForger().special(tar.TypeBlock, "project/x", "").bundle(t), "not a regular file",
		},
		"a named pipe": {
			newForger().special(tar.TypeFifo, "project/x", "").bundle(t), "not a regular file",
		},
		"a directory": {
			newForger().special(tar.TypeDir, "project/x", "").bundle(t), "not a regular file",
		},
		"a link that is listed as file": {
			newForger().special(tar.TypeSymlink, "project/x", "/etc").bundle(t), "not a regular file",
		},
		"a link that leads elsewhere": {
			newForger().
				list(Member{Path: "project/x", Link: "a"}).
				raw(tar.Header{Typeflag: tar.TypeSymlink, Name: "project/x", Linkname: "/etc"}, "").bundle(t),
			"is not the link to",
		},
		"a member twice": {
			newForger().add("project/x", "1").add("project/x", "1").bundle(t), "in order, each once",
		},
		"a member twice in the archive": {
			newForger().add("project/x", "1").put("project/x", "2").bundle(t), "not in its manifest",
		},
		"members out of order": {
			newForger().add("project/b", "1").add("project/a", "1").bundle(t), "in order, each once",
		},
		"a member that is not listed": {
			newForger().add("project/a", "1").put("project/b", "1").bundle(t), "not in its manifest",
		},
		"a member that is missing": {
			newForger().add("project/a", "1").list(member("project/b", "1")).bundle(t), "is missing",
		},
		"a member under another name": {
			newForger().list(member("project/a", "1")).put("project/b", "1").bundle(t), "is in the place of",
		},
		"a wrong hash": {
			newForger().list(member("project/a", "1")).put("project/a", "2").bundle(t), "does not match its manifest",
		},
		"more bytes than listed": {
			newForger().list(member("project/a", "1")).put("project/a", bomb).bundle(t), "its manifest says 1",
		},
		"a negative size": {
			newForger().
				list(Member{Path: "project/a", Mode: 0o644, Size: -1, SHA256: hash("")}).
				bundle(t), "has the size -1",
		},
		"sizes that overflow": {
			newForger().
				list(Member{Path: "project/a", Mode: 0o644, Size: 1 << 62, Unpacked: 1 << 62, SHA256: hash("")}).
				bundle(t), "is too large",
		},
		"a setuid file": {
			newForger().list(Member{Path: "project/a", Mode: 0o4755, SHA256: hash("")}).bundle(t), "has the mode 4755",
		},
		"no hash": {
			newForger().list(Member{Path: "project/a", Mode: 0o644}).bundle(t), "has no SHA-256",
		},
		"a version that leads outside": {with(func(m *Manifest) { m.Version = "../x" }).bundle(t), `version "../x"`},
		"a version that is a word":     {with(func(m *Manifest) { m.Version = "latest" }).bundle(t), "is reserved"},
		"a name that leads outside":    {with(func(m *Manifest) { m.Name = "a/b" }).bundle(t), `name "a/b"`},
		"a newer format": {
			with(func(m *Manifest) { m.Format = 9 }).bundle(t), "install a newer superctl",
		},
		"an empty smoke command": {
			with(func(m *Manifest) { m.Smoke = [][]string{{}} }).bundle(t), "smoke command is empty",
		},
		"no manifest":                 {compressed(t, archiveOf(t, "project/a", "1")), "instead of a manifest"},
		"a manifest that is not JSON": {compressed(t, archiveOf(t, manifestName, "{")), "manifest cannot be read"},
		"a manifest with more behind it": {
			compressed(t, archiveOf(t, manifestName, "{} {}")), "manifest cannot be read",
		},
		"a manifest of a type it isn't": {
			compressed(t, archiveOf(t, manifestName, `{"format": 1, "members": "all"}`)), "manifest cannot be read",
		},
		"a manifest that is too big": {compressed(t, hugeHeader(t)), "at most"},
		"a flood of members":         {manifestWith(t, "members", "{}", 2<<20), "more than 400000 members"},
		"a flood of smoke commands":  {manifestWith(t, "smoke", "[]", 2<<20), "bytes before or after its members"},
		"a flood of processes": {
			manifestWith(t, "processes", `""`, 2<<20), "bytes before or after its members",
		},
		"a flood of something else": {manifestWith(t, "other", "0", 2<<20), "bytes before or after its members"},
		"a flood under another spelling": {
			manifestWith(t, `\u006dembers`, "{}", 2<<20), "bytes before or after its members",
		},
		"a flood in a member": {manifestWith(t, `members": [{"x`, "0", 2<<20), "a member has more than"},
		"a deep manifest": {
			manifestWith(t, "other", strings.Repeat("[", 1<<20), 1), "lists and objects are nested more than",
		},
		"members twice": {
			manifestWith(t, `members": [], "members`, "{}", 1), `"members" occurs twice`,
		},
		"members twice, once in another case": {
			manifestWith(t, `members": [], "memBers`, "{}", 1), `"memBers" occurs twice`,
		},
		"a directory that is too deep": {
			newForger().add("project/"+strings.Repeat("d/", 300)+"x", "1").bundle(t), "more than 200 directories deep",
		},
		"something behind the archive": {
			func() []byte { deep.after = []byte("x"); return deep.bundle(t) }(), "data after its end",
		},
		"a second archive behind it": {append(bytes.Clone(whole), whole...), "data after its end"},
		"a bomb behind it": {
			append(bytes.Clone(whole), compressed(t, []byte(bomb))...), "data after its end",
		},
		"a window that needs memory": {compressed(t, []byte(bomb), zstd.WithSingleSegment(true)), "of memory"},
		"nothing":                    {nil, "cut short"},
		"no zstd": {
			[]byte("PK\x03\x04 a zip file, perhaps a wheel"), "not compressed with zstd",
		},
		"a short text": {[]byte("x\n"), "not compressed with zstd"},
		"no tar": {
			compressed(t, bytes.Repeat([]byte("text "), 400)), "contains no tar archive",
		},
		"a changed byte": {flipped(whole), ""},
	}
	for name, n := range map[string]int{
		"its first byte": 1, "a tenth": len(whole) / 10, "a half": len(whole) / 2, "all but a byte": len(whole) - 1,
	} {
		all["cut short after "+name] = one{whole[:n], "cut short"}
	}
	return all
}

// manifestWith returns a bundle whose manifest has a list of the value, repeated up to size bytes.
func manifestWith(t testing.TB, key, value string, size int) []byte {
	t.Helper()
	text := `{"format": 1, "` + key + `": [` + strings.Repeat(value+",", max(1, size/(len(value)+1))) + value + "]}"
	return compressed(t, archiveOf(t, manifestName, text))
}

func with(change func(*Manifest)) *forger {
	f := newForger()
	change(&f.m)
	return f
}

func archiveOf(t testing.TB, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hugeHeader(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: manifestName, Mode: 0o644, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func flipped(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 0x40
	return data
}

func TestAHostileBundleIsRefusedAndWritesNothingOutside(t *testing.T) {
	for name, bad := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "inside")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = Unpack(bytes.NewReader(bad.data), root, ".superctl/wheels", nil, nil)
			if err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("error %v, want %q", err, bad.says)
			}
			if strings.Count(errText(err), "\n") > 1 || len(errText(err)) > 4<<10 {
				t.Errorf("the reason is long: %.200s", errText(err))
			}
			if left, _ := os.ReadDir(parent); len(left) != 1 {
				t.Errorf("written outside: %v", left)
			}
			if n := bytesIn(t, dir); n > 1<<20 {
				t.Errorf("%d bytes were written before it was refused", n)
			}
		})
	}
}

func TestABundleThatIsCutAnywhereIsRefused(t *testing.T) {
	m, files := sample()
	random := make([]byte, 300<<10) // does not compress
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	files["project/data"] = string(random)
	m.Members = append(m.Members, member("project/data", files["project/data"]))
	whole := written(t, m, files)
	for n := 0; n < len(whole); n += 1 << 10 {
		_, err := Read(bytes.NewReader(whole[:n]), Visitor{})
		if err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	small, contents := sample()
	whole = written(t, small, contents)
	for n := range whole {
		_, err := Read(bytes.NewReader(whole[:n]), Visitor{})
		if err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("of the small one after %d bytes: %v", n, err)
		}
	}
}

// FuzzManifest checks that encoding/json accepts whatever decodeManifest accepts, with the same
// result.
func FuzzManifest(f *testing.F) {
	m, _ := sample()
	text, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"name":"a","version":"1","members":null,"other":{"members":[{}]}}`))
	f.Add([]byte(`{"members":[{"path":"project/a"},{"path":"\"]}"}],"format":1}`))
	f.Add([]byte(`{"memBerſ":[{"path":"a"},{"path":"b"}],"Format":1}`))
	f.Add([]byte(`{"format":1,"Format":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want Manifest
		if err := decodeManifest(json.NewDecoder(&guard{r: bytes.NewReader(text)}), &got); err != nil {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q is accepted but is not JSON: %v", text, err)
		}
		if len(want.Members) == 0 {
			want.Members = got.Members // null or []
		}
		if len(got.Members) != len(want.Members) || got.Format != want.Format || got.Version != want.Version {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func bytesIn(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err == nil && st.Mode().IsRegular() {
			n += st.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// FuzzRead checks that reading any data ends with an error, or that a valid manifest lists every
// member and no path leads outside.
func FuzzRead(f *testing.F) {
	for _, bad := range hostile(f) {
		if len(bad.data) < 1<<16 {
			f.Add(bad.data, true)
			f.Add(uncompressed(bad.data), false)
		}
	}
	m, files := sample()
	f.Add(written(f, m, files), true)
	f.Add(uncompressed(written(f, m, files)), false)
	f.Fuzz(func(t *testing.T, data []byte, packed bool) {
		if !packed {
			data = compressed(t, data, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<17))
		}
		seen := 0
		m, err := Read(bytes.NewReader(data), Visitor{Member: func(e Member, content io.Reader) error {
			seen++
			target := filepath.Join(filepath.Dir(e.Path), e.Link)
			if !filepath.IsLocal(e.Path) || e.Link != "" && !filepath.IsLocal(target) {
				t.Errorf("%q leads outside, to %q", e.Path, e.Link)
			}
			if content == nil {
				return nil
			}
			n, err := io.Copy(io.Discard, content)
			if n > e.Size {
				t.Errorf("%q has %d bytes, and its manifest says %d", e.Path, n, e.Size)
			}
			return err
		}})
		if err == nil && (m.Check() != nil || seen != len(m.Members)) {
			t.Errorf("a bundle was accepted that contradicts its manifest: %v, %d of %d members",
				m.Check(), seen, len(m.Members))
		}
	})
}

func uncompressed(data []byte) []byte {
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<20))
	if err != nil {
		return nil
	}
	defer z.Close()
	out, _ := z.DecodeAll(data, nil)
	return out
}
