package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// run runs a command as superctl does, with what it needs for a test.
func run(ctx context.Context, c Command, line func(string)) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	r, w := io.Pipe()
	cmd.Stderr, cmd.Stdout = w, w
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			line(s.Text())
		}
	}()
	err := cmd.Run()
	_ = w.Close()
	<-read
	return err
}

// newBuilder is a builder of the project in dir.
func newBuilder(t *testing.T, dir string) *builder {
	t.Helper()
	temp := t.TempDir()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	return &builder{
		Options: Options{
			Dir: dir, Exec: run, Now: func() time.Time { return now }, Show: func(Event) {},
			Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + temp, "GIT_CONFIG_NOSYSTEM=1"},
		},
		temp: temp, stage: filepath.Join(temp, "project"), result: new(Result), began: now,
		cache: cache{dir: filepath.Join(temp, "cache")},
	}
}

// write makes the files of a project: path and content by turns.
func write(t *testing.T, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[i+1]),
			0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

const commitTime = 1764058615 // 2025-11-25 08:16:55 UTC

// git runs git in dir, and tells the time of a commit.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"},
		args...)...)
	cmd.Dir = dir
	date := fmt.Sprintf("%d +0100", commitTime)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.com",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a repository of files.
func commit(t *testing.T, dir string, files ...string) {
	t.Helper()
	write(t, dir, files...)
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "one")
}

// shipped are the paths of a project that go into its bundle.
func shipped(b *builder) []string {
	var list []string
	for _, f := range b.files {
		if f.ship {
			list = append(list, f.path)
		}
	}
	return list
}

func mustRead(t *testing.T, b *builder) {
	t.Helper()
	if _, err := b.readProject(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refused is the error of a project that cannot be read.
func refused(t *testing.T, b *builder, want string) {
	t.Helper()
	_, err := b.readProject(t.Context())
	var input *InputError
	if !errors.As(err, &input) || !strings.Contains(err.Error(), want) {
		t.Errorf("it says %v, and not %s", err, want)
	}
}

func TestAProjectIsWhatGitTracks(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "manage.py", "x", "shop/a 'b' ü.py", "y", ".gitignore", "*.log\n", ".gitattributes",
		"/tests export-ignore\ndocs/ export-ignore\n*.md export-ignore\n",
		"tests/deep/test.py", "t", "docs/a.txt", "d", "shop/docs", "no directory", "shop/README.md", "r")
	write(t, dir, "left.txt", "nobody has added it", "a.log", "ignored")
	if err := os.Chmod(filepath.Join(dir, "manage.py"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("manage.py", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "link", "manage.py")
	git(t, dir, "commit", "-q", "-m", "two")
	b := newBuilder(t, dir)
	mustRead(t, b)
	want := []string{".gitattributes", ".gitignore", "link", "manage.py", "shop/a 'b' ü.py", "shop/docs"}
	if got := shipped(b); !slices.Equal(got, want) {
		t.Errorf("it has %q, not %q", got, want)
	}
	for _, f := range b.files {
		switch {
		case f.path == "link" && (f.link != "manage.py" || f.mode != 0), f.path == "manage.py" &&
			f.mode != 0o755, f.path == ".gitignore" && f.mode != 0o644:
			t.Errorf("%s has the mode %o and leads to %q", f.path, f.mode, f.link)
		}
	}
	if !exists(filepath.Join(b.stage, "tests/deep/test.py")) {
		t.Error("what is not exported is not there for the build either")
	}
	if want := []string{"1 untracked file is not in the bundle: left.txt"}; !slices.Equal(
		b.result.Warnings, want,
	) {
		t.Errorf("it warns %q", b.result.Warnings)
	}
}

func TestAPathThatABundleCannotHaveIsRefusedAtOnce(t *testing.T) {
	for name, target := range map[string]string{"absolute": "/etc/passwd", "up": "../../x"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Symlink(target, filepath.Join(dir, "away")); err != nil {
				t.Fatal(err)
			}
			commit(t, dir)
			refused(t, newBuilder(t, dir), `"away" is a link to "`+target+`", which leads outside the project`)
		})
	}
	t.Run("a virtualenv", func(t *testing.T) {
		dir := t.TempDir()
		commit(t, dir, "venv/pyvenv.cfg", "")
		refused(t, newBuilder(t, dir), `"venv/pyvenv.cfg": superctl makes venv itself`)
	})
}

func TestAVersionSaysWhenAndWhat(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "a.py", "1")
	head := git(t, dir, "rev-parse", "HEAD")
	b := newBuilder(t, dir)
	mustRead(t, b)
	if want := "20251125-081655-" + head[:7]; b.Version != want || b.source.dirty || b.source.branch != "main" ||
		b.source.commit != head {
		t.Errorf("version %s, not %s; %+v", b.Version, want, b.source)
	}
	if epoch, built, err := b.times(); err != nil || epoch.Unix() != commitTime || built.Unix() != commitTime {
		t.Errorf("built %s of %s (%v)", built, epoch, err)
	}
	git(t, dir, "checkout", "-q", "--detach")
	write(t, dir, "a.py", "2")
	b = newBuilder(t, dir)
	mustRead(t, b)
	first := b.Version
	if !strings.HasPrefix(first, "20251125-081655-"+head[:7]+"-dirty-") || b.source.branch != "" {
		t.Errorf("version %s on branch %q", first, b.source.branch)
	}
	if want := []string{"the tree has uncommitted changes: 1 file (M a.py)"}; !slices.Equal(b.result.Warnings, want) {
		t.Errorf("it warns %q", b.result.Warnings)
	}
	if epoch, built, err := b.times(); err != nil || epoch.Unix() != commitTime || !built.Equal(b.began) {
		t.Errorf("built %s of %s (%v)", built, epoch, err)
	}
	write(t, dir, "a.py", "3")
	b = newBuilder(t, dir)
	if mustRead(t, b); b.Version == first {
		t.Errorf("another content has the version %s, too", first)
	}
	if err := os.Remove(filepath.Join(dir, "a.py")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "b.py", "")
	git(t, dir, "add", "b.py")
	b = newBuilder(t, dir)
	if mustRead(t, b); !slices.Equal(shipped(b), []string{"b.py"}) || !b.source.dirty {
		t.Errorf("it has %q", shipped(b))
	}
}

func TestSourceDateEpochIsTheTimeOfABuild(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "a.py", "1")
	b := newBuilder(t, dir)
	b.Environ = append(b.Environ, epochVar+"=1000")
	mustRead(t, b)
	if epoch, built, err := b.times(); err != nil || epoch.Unix() != 1000 || built.Unix() != 1000 {
		t.Errorf("built %s of %s (%v)", built, epoch, err)
	}
	b.Environ = append(b.Environ, epochVar+"=yesterday")
	if _, _, err := b.times(); err == nil ||
		err.Error() != `invalid SOURCE_DATE_EPOCH="yesterday": use a number of seconds since 1970` {
		t.Errorf("it says %v", err)
	}
}

func TestWithoutGitTheFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "manage.py", "", "shop/urls.py", "", "shop/__pycache__/urls.pyc", "", "static/a.css", "",
		"static/a.map", "", "secret", "")
	refused(t, newBuilder(t, dir),
		dir+" is not a git checkout, so the files of the project are unknown: list them in superctl.toml ([build] files = ")
	b := newBuilder(t, dir)
	b.Files = []string{"manage.py", "shop", "static/*.css"}
	mustRead(t, b)
	if want := []string{"manage.py", "shop/urls.py", "static/a.css"}; !slices.Equal(shipped(b), want) {
		t.Errorf("it has %q, not %q", shipped(b), want)
	}
	if !strings.HasPrefix(b.Version, "20261125-120000-") || b.source.commit != "" {
		t.Errorf("version %s", b.Version)
	}
	b = newBuilder(t, dir)
	b.Files = []string{"manage.py", "shp"}
	refused(t, b, "files: no shp in "+dir)
}

func TestNamedFilesThatGitDoesNotTrackMakeATreeDirty(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "a.py", "", "b.py", "", ".gitignore", "built\n")
	write(t, dir, "built/app.js", "")
	b := newBuilder(t, dir)
	b.Files = []string{"a.py"}
	if mustRead(t, b); b.source.dirty || !slices.Equal(shipped(b), []string{"a.py"}) ||
		!exists(filepath.Join(b.stage, "b.py")) {
		t.Errorf("dirty %t, it has %q", b.source.dirty, shipped(b))
	}
	b = newBuilder(t, dir)
	b.Files = []string{"a.py", "built"}
	if mustRead(t, b); !b.source.dirty || !slices.Equal(shipped(b), []string{"a.py", "built/app.js"}) {
		t.Errorf("dirty %t, it has %q", b.source.dirty, shipped(b))
	}
}

func TestSubmodulesAreFilesOfTheProject(t *testing.T) {
	lib, dir := t.TempDir(), t.TempDir()
	commit(t, lib, "lib.py", "")
	commit(t, dir, "a.py", "")
	git(t, dir, "submodule", "add", "-q", lib, "vendor/lib")
	git(t, dir, "commit", "-q", "-m", "two")
	b := newBuilder(t, dir)
	if mustRead(t, b); !slices.Contains(shipped(b), "vendor/lib/lib.py") || b.source.dirty {
		t.Errorf("dirty %t, it has %q", b.source.dirty, shipped(b))
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, dir, "clone", "-q", dir, clone)
	refused(t, newBuilder(t, clone),
		"submodule vendor/lib is not checked out: run git submodule update --init --recursive")
}

func TestAProjectMayBeADirectoryOfItsRepository(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "other/b.py", "", "site/a.py", "", "site/tests/t.py", "", ".gitattributes",
		"site/tests export-ignore\n")
	write(t, dir, "other/b.py", "changed, which is no matter of the site")
	b := newBuilder(t, filepath.Join(dir, "site"))
	if mustRead(t, b); b.source.dirty || !slices.Equal(shipped(b), []string{"a.py"}) || b.Name != "site" {
		t.Errorf("%s: dirty %t, it has %q", b.Name, b.source.dirty, shipped(b))
	}
}

func TestAHookOfGitsMayBuild(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	commit(t, dir, "a.py", "")
	commit(t, other, "b.py", "")
	b := newBuilder(t, dir)
	b.Environ = append(b.Environ, "GIT_DIR="+filepath.Join(other, ".git"), "GIT_WORK_TREE="+other,
		"GIT_INDEX_FILE="+filepath.Join(other, ".git/index"))
	if mustRead(t, b); !slices.Equal(shipped(b), []string{"a.py"}) {
		t.Errorf("it has %q", shipped(b))
	}
}

func TestAnUnreadableProjectIsRefusedWithTheReason(t *testing.T) {
	empty := t.TempDir()
	git(t, empty, "init", "-q")
	refused(t, newBuilder(t, empty), empty+" has no commit yet: run git commit first")
	write(t, empty, "a.py", "")
	git(t, empty, "add", "-A")
	git(t, empty, "commit", "-q", "-m", "one")
	write(t, empty, "new/b.py", "")
	refused(t, newBuilder(t, filepath.Join(empty, "new")),
		"git tracks no file in "+empty+"/new: run git add and git commit first")
	b := newBuilder(t, empty)
	b.Name = "my shop"
	refused(t, b, `name "my shop": use letters, digits and . _ + -`)
	b = newBuilder(t, empty)
	b.Version = "latest"
	refused(t, b, `version "latest": the word is reserved`)
	b = newBuilder(t, empty)
	b.Environ = []string{"PATH=/nowhere"}
	refused(t, b, empty+" is a git checkout, but git is not installed: apt install git")
	write(t, empty, "pyproject.toml", "[project\n")
	git(t, empty, "add", "-A")
	refused(t, newBuilder(t, empty), "read pyproject.toml: ")
}

func TestAnotherUsersCheckoutIsExplained(t *testing.T) {
	b := newBuilder(t, t.TempDir())
	b.Exec = func(_ context.Context, _ Command, line func(string)) error {
		line("fatal: detected dubious ownership in repository at '/srv/shop'")
		return errors.New("exit code 128")
	}
	refused(
		t, b,
		"belongs to another user, so git refuses to read it: "+
			"if you trust it, run git config --global --add safe.directory "+b.Dir,
	)
}

func TestAGitLFSPointerIsReported(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "logo.png", "version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 12345\n", "a.py", "")
	b := newBuilder(t, dir)
	mustRead(t, b)
	const lfs = "1 file is a Git LFS pointer instead of content: run git lfs pull (logo.png)"
	if want := []string{lfs}; !slices.Equal(b.result.Warnings, want) {
		t.Errorf("it warns %q", b.result.Warnings)
	}
}

func TestAPackageIsWhatUVTakesForOne(t *testing.T) {
	no := false
	for _, tt := range []struct {
		text string
		conf *bool
		want bool
	}{
		{"", nil, false},
		{"[project]\nname = \"x\"\n", nil, false},
		{"[build-system]\nrequires = []\n", nil, true},
		{"[build-system]\nrequires = []\n[tool.uv]\npackage = false\n", nil, false},
		{"[tool.uv]\npackage = true\n", nil, true},
		{"[build-system]\nrequires = []\n", &no, false},
	} {
		dir := t.TempDir()
		commit(t, dir, "pyproject.toml", tt.text)
		b := newBuilder(t, dir)
		b.Package = tt.conf
		if mustRead(t, b); b.isPackage() != tt.want {
			t.Errorf("%q (%v): %t", tt.text, tt.conf, !tt.want)
		}
	}
}

func TestWhatTheCommandsMakeIsCollected(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, "static/old.css", "o", "static.py", "", "a.py", "")
	work := filepath.Join(t.TempDir(), "work")
	collect := func(outputs ...string) (*builder, error) {
		b := newBuilder(t, dir)
		b.Outputs = outputs
		mustRead(t, b)
		return b, b.collect(work)
	}
	write(t, work, "static/deep/a.css", "a", "static/__pycache__/a.pyc", "", "left", "", "b", "")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(work, "empty"), 0o755))
	must(os.Symlink("deep/a.css", filepath.Join(work, "static", "link")))
	b, err := collect("static/", "static/deep", "b")
	must(err)
	got := shipped(b)
	slices.Sort(got)
	if want := []string{"a.py", "b", "static.py", "static/deep/a.css", "static/link"}; !slices.Equal(got, want) {
		t.Errorf("it has %q, not %q", got, want)
	}
	for outputs, want := range map[string]string{
		"dist":  "the commands did not create dist, which [build] output or --include names",
		"empty": "the commands created no file in empty, which [build] output or --include names",
	} {
		if _, err := collect(outputs); err == nil || err.Error() != want {
			t.Errorf("it says %v", err)
		}
	}
	must(os.Symlink("/etc/passwd", filepath.Join(work, "static", "away")))
	if _, err := collect("static"); err == nil ||
		err.Error() != `"static/away" is a link to "/etc/passwd", which leads outside the project` {
		t.Errorf("it says %v", err)
	}
}
