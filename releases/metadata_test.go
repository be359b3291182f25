package releases

import (
	"bytes"
	"compress/zlib"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const commit = "4be9f00d4be9f00d4be9f00d4be9f00d4be9f00d"

func TestMetadataComesFromReleaseTomlRevisionOrGit(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	object := ".git/objects/" + commit[:2] + "/" + commit[2:]
	for name, c := range map[string]struct {
		files map[string]string
		want  Metadata
	}{
		"release.toml": {map[string]string{
			"release.toml": "version = \"1.2\"\ncommit = \"" + strings.ToUpper(commit) + "\"\nbranch = \"main\"",
			"REVISION":     "0000000",
		}, Metadata{Version: "1.2", Commit: commit, Branch: "main"}},
		"REVISION": {map[string]string{"REVISION": commit + "\n"}, Metadata{Commit: commit}},
		"REVISION_TIME": {map[string]string{
			"REVISION": commit, "REVISION_TIME": "1700000000\n",
		}, Metadata{Commit: commit, Committed: at}},
		"git, a branch": {map[string]string{
			".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": commit + "\n",
		}, Metadata{Commit: commit, Branch: "main"}},
		"git, detached": {map[string]string{".git/HEAD": commit + "\n"}, Metadata{Commit: commit}},
		"git, a loose commit": {map[string]string{
			".git/HEAD": commit + "\n",
			object: loose("tree 1\nauthor A <a@b> 5 +0000\n" +
				"committer Ä > B <a@b> 1700000000 +0100\n\ncommitter x\n"),
		}, Metadata{Commit: commit, Committed: at}},
		"git, a broken commit": {map[string]string{
			".git/HEAD": commit + "\n", object: "x\x9c\x01\x02",
		}, Metadata{Commit: commit}},
		"git, packed": {map[string]string{
			".git/HEAD": "ref: refs/heads/main\n",
			".git/packed-refs": "# pack-refs with: peeled\n0000000 refs/heads/mai\n" +
				commit + " refs/heads/main\n^1111111\n",
		}, Metadata{Commit: commit, Branch: "main"}},
		"git, a worktree": {map[string]string{
			".git":                       "gitdir: repo/worktrees/r\n",
			"repo/worktrees/r/HEAD":      "ref: refs/heads/main\n",
			"repo/worktrees/r/commondir": "../..\n",
			"repo/refs/heads/main":       commit,
		}, Metadata{Commit: commit, Branch: "main"}},
		"git, packed, worktree": {map[string]string{
			".git":                       "gitdir: repo/worktrees/r\n",
			"repo/worktrees/r/HEAD":      "ref: refs/heads/main\n",
			"repo/worktrees/r/commondir": "../..\n",
			"repo/packed-refs":           commit + " refs/heads/main\n",
		}, Metadata{Commit: commit, Branch: "main"}},
		"git, no worktree": {map[string]string{".git": "gitdir: /nowhere"}, Metadata{}},
		"git, outside":     {map[string]string{".git/HEAD": "ref: ../../../etc/passwd\n"}, Metadata{}},
		"git, reftable": {
			map[string]string{".git/HEAD": "ref: refs/heads/.invalid\n"}, Metadata{Branch: ".invalid"},
		},
		"a REVISION of x": {map[string]string{"REVISION": "x"}, Metadata{}},
		"nothing":         {nil, Metadata{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := store(t, "r")
			for file, text := range c.files {
				write(t, filepath.Join(s.Dir, "r", file), text)
			}
			r, err := s.Get(filepath.Join(s.Dir, "r"))
			must(t, err)
			same := r.Version == c.want.Version && r.Commit == c.want.Commit && r.Branch == c.want.Branch
			if !same || !r.Committed.Equal(c.want.Committed) || r.Broken != nil {
				t.Errorf("%+v", r)
			}
		})
	}
}

// loose returns a loose commit object as git writes it.
func loose(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write([]byte("commit 99\x00" + text))
	_ = z.Close()
	return b.String()
}

func TestAllKeysOfReleaseTomlAreRead(t *testing.T) {
	s := store(t, "2026-11-23")
	write(t, filepath.Join(s.Dir, "2026-11-23", MetadataName), `
name = "shop"
version = "2026.11.23"
commit = "`+commit+`"
branch = "main"
dirty = true
committed = 2026-11-23T10:00:00+01:00
built = "2026-11-23T09:30:00Z"
builder = "anna@build-1"
installed = 2026-11-23T09:40:00Z
bundle = "aa"
tree = "bb"
size = 4096
processes = ["web", "worker"]
a_later_key = [1]
[env]
RELEASE_FLAG = "1"
`)
	r, err := s.Get(filepath.Join(s.Dir, "2026-11-23"))
	must(t, err)
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 23, hour, minute, 0, 0, time.UTC) }
	texts := r.Broken == nil && r.Name == "2026-11-23" && r.Project == "shop" && r.Version == "2026.11.23" &&
		r.Dirty && r.Builder == "anna@build-1" && r.Bundle == "aa" && r.Tree == "bb" && r.Size == 4096
	times := r.Committed.Equal(at(9, 0)) && r.Built.Equal(at(9, 30)) && r.Installed.Equal(at(9, 40))
	env := maps.Equal(r.Env, map[string]string{"RELEASE_FLAG": "1"})
	if !texts || !times || !env || strings.Join(r.Processes, ",") != "web,worker" {
		t.Errorf("%+v", r)
	}
}

func TestAnInvalidReleaseTomlIsReportedWithItsPosition(t *testing.T) {
	for text, says := range map[string]string{
		"commit = [":                   "line 1, column 10: array is incomplete",
		"version = 3":                  "line 1, column 11: version: a string is expected, in quotes",
		"\ndirty = \"yes\"":            "line 2, column 9: dirty: true or false is expected",
		"built = \"yesterday\"":        "line 1, column 9: built: a time is expected, such as 2026-11-23T10:00:00Z",
		"size = \"1 MB\"":              "size: a whole number of bytes is expected",
		"processes = \"web\"":          "processes: a list of strings is expected",
		"processes = [1]":              "processes: a list of strings is expected",
		"env = 3":                      "env: a table of strings is expected",
		"[env]\nDEBUG = 1":             "line 2, column 9: env.DEBUG: a string is expected",
		"[env]\n\"A=B\" = \"1\"":       `env: "A=B" is not a variable name`,
		"[env]\nA = \"x\\u0000y\"":     "env.A: its value",
		"version = \"\\u001b[2Jgone\"": "version: one line of text is expected",
		"commit = \"a b\"":             `commit: "a b" contains a space`,
		"size = -1":                    "size: -1 is negative",
		"commit = 1\ncommit = 2":       "commit",
		"x = \"" + strings.Repeat("x", metadataLimit) + "\"": "larger than 64 KB",
	} {
		s := store(t, "r")
		write(t, filepath.Join(s.Dir, "r", MetadataName), text)
		r, err := s.Get(filepath.Join(s.Dir, "r"))
		must(t, err)
		broken := r.Broken != nil && strings.HasPrefix(r.Broken.Error(), "its release.toml ")
		if !broken || !strings.Contains(r.Broken.Error(), says) {
			t.Errorf("%.40q: %v; want %q", text, r.Broken, says)
		}
	}
}

// FuzzMetadata checks that reading any release ends, that a commit is a hash, and that no text has
// terminal escapes.
func FuzzMetadata(f *testing.F) {
	f.Add("commit = \"4be9f00d\"\nbuilt = 2026-11-23T10:00:00Z\n[env]\nA = \"b\"", "abc",
		"ref: refs/heads/main", commit+" refs/heads/main")
	f.Add("size = 1e9", commit, commit, loose("committer x <y> 17 +0000\n"))
	f.Fuzz(func(t *testing.T, toml, revision, head, packed string) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, MetadataName), toml)
		r := new(Store).read(dir, order{})
		for _, text := range []string{r.Project, r.Version, r.Commit, r.Branch, r.Builder, r.Bundle, r.Tree} {
			if !printable(text) {
				t.Errorf("%q", text)
			}
		}
		must(t, os.Remove(filepath.Join(dir, MetadataName)))
		write(t, filepath.Join(dir, "REVISION"), revision)
		if r := new(Store).read(dir, order{}); r.Commit != "" && !isCommit(r.Commit) {
			t.Errorf("commit %q", r.Commit)
		}
		must(t, os.Remove(filepath.Join(dir, "REVISION")))
		write(t, filepath.Join(dir, ".git", "HEAD"), head)
		write(t, filepath.Join(dir, ".git", "packed-refs"), packed)
		write(t, filepath.Join(dir, ".git", "objects", commit[:2], commit[2:]), packed)
		if r := new(Store).read(dir, order{}); r.Commit != "" && !isCommit(r.Commit) || !printable(r.Branch) {
			t.Errorf("%q on %q", r.Commit, r.Branch)
		}
	})
}
