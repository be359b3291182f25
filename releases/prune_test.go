package releases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// whole returns a store of releases that can be switched to.
func whole(t *testing.T, names ...string) *Store {
	t.Helper()
	s := store(t, names...)
	s.pause = func(time.Duration) {}
	for i, name := range names {
		write(t, filepath.Join(s.Dir, name, "REVISION"), commit)
		at := time.Unix(1_700_000_000, 0).Add(time.Duration(i) * time.Minute)
		must(t, os.Chtimes(filepath.Join(s.Dir, name), at, at))
	}
	return s
}

// options returns those of a prune with nothing to protect.
func options(keep int) PruneOptions {
	return PruneOptions{
		Keep: keep, Now: time.Unix(1_700_100_000, 0),
		Protected: func(context.Context) (map[string]string, error) { return nil, nil },
		Check:     func(r Release) error { return r.Check(context.Background(), CheckOptions{NoVirtualenv: true}) },
	}
}

// left returns the names in the directory of releases, without superctl's own.
func left(t *testing.T, s *Store) string {
	t.Helper()
	entries, err := os.ReadDir(s.Dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		if e.Name() != ownName {
			names = append(names, e.Name())
		}
	}
	return strings.Join(names, " ")
}

func whys(done Pruned) map[string]string {
	all := make(map[string]string)
	for _, k := range done.Kept {
		all[k.Name] = k.Why
	}
	return all
}

func TestAPruneKeepsTheNewestAndWhatIsNeeded(t *testing.T) {
	s := whole(t, "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9")
	must(t, s.Point(filepath.Join(s.Dir, "r3")))
	if _, err := s.Pin("r4", Pin{Note: "before the move", By: "anna"}); err != nil {
		t.Fatal(err)
	}
	must(t, os.Symlink("r5", filepath.Join(s.Dir, "stable")))
	opt := options(2)
	opt.Protected = func(context.Context) (map[string]string, error) { return map[string]string{"r1": "live"}, nil }
	opt.DryRun = true
	before := left(t, s)
	tried, err := s.Prune(t.Context(), opt)
	must(t, err)
	if left(t, s) != before {
		t.Errorf("a dry run has left %s", left(t, s))
	}
	opt.DryRun = false
	done, err := s.Prune(t.Context(), opt)
	must(t, err)
	want := map[string]string{
		"r1": "live", "r3": s.Current + " leads to it", "r4": "pinned by anna: before the move",
		"r5": "the link stable leads to it", "r8": "one of the 2 newest", "r9": "one of the 2 newest",
		"stable": "it is a link to " + filepath.Join(s.Dir, "r5") + ", not a directory",
	}
	if got := whys(done); !maps.Equal(got, want) || !maps.Equal(whys(tried), want) {
		t.Errorf("%v, tried %v", got, whys(tried))
	}
	if got := left(t, s); got != "r1 r3 r4 r5 r8 r9 stable" {
		t.Errorf("left: %s", got)
	}
	if len(done.Removed) != 3 || done.Freed <= 0 || done.Freed != tried.Freed {
		t.Errorf("%+v, tried %+v", done, tried)
	}
	again, err := s.Prune(t.Context(), opt)
	if err != nil || len(again.Removed) != 0 || again.Freed != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestABrokenReleaseDoesNotTakeAnIntactOnesPlace(t *testing.T) {
	hours := map[string]int{
		"other": 0, "copying": 1, "broken": 2, "stuck": 25, "good": 30, "old": 40, "older": 50, "oldest": 60,
	}
	s := whole(t, slices.Sorted(maps.Keys(hours))...)
	write(t, filepath.Join(s.Dir, "broken", MetadataName), "commit = 1")
	write(t, filepath.Join(s.Dir, "stuck", Incomplete), "")
	write(t, filepath.Join(s.Dir, "copying", Incomplete), "")
	must(t, os.Remove(filepath.Join(s.Dir, "other", "REVISION"))) // not a release
	opt := options(3)
	opt.Virtualenv = true
	check := opt.Check
	opt.Check = func(r Release) error {
		if r.Name == "other" {
			return errors.New("it has no virtualenv")
		}
		return check(r)
	}
	for name, ago := range hours {
		at := opt.Now.Add(time.Duration(-ago) * time.Hour)
		must(t, os.Chtimes(filepath.Join(s.Dir, name), at, at))
		if _, err := os.Stat(filepath.Join(s.Dir, name, Incomplete)); err == nil {
			must(t, os.Chtimes(filepath.Join(s.Dir, name, Incomplete), at, at))
		}
	}
	done, err := s.Prune(t.Context(), opt)
	must(t, err)
	if got := left(t, s); got != "broken copying good old older other" {
		t.Errorf("left: %s, %v", got, whys(done))
	}
	for name, says := range map[string]string{
		"other": "does not look like a release", "copying": "being copied",
		"broken": "3 newest, though broken", "older": "one of the 3 newest",
	} {
		if !strings.Contains(whys(done)[name], says) {
			t.Errorf("%s: %q", name, whys(done)[name])
		}
	}
}

func TestAReleaseInUseStaysEvenIfTheUseBeginsLate(t *testing.T) {
	s := whole(t, "inside", "program", "late", "chosen", "old", "new")
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	program := filepath.Join(s.Dir, "program", "sleep")
	data, err := os.ReadFile(sleep)
	must(t, err)
	must(t, os.WriteFile(program, data, 0o755))
	at := time.Unix(1_700_000_000, 0)
	must(t, os.Chtimes(filepath.Join(s.Dir, "program"), at, at))
	run := func(path, dir string) {
		cmd := exec.CommandContext(t.Context(), path, "600")
		cmd.Dir = dir
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	run(sleep, filepath.Join(s.Dir, "inside"))
	run(program, "/")
	opt := options(1)
	asked := 0
	opt.Protected = func(context.Context) (map[string]string, error) {
		switch asked++; asked {
		case 2: // everything is decided
			run(sleep, filepath.Join(s.Dir, "late"))
		case 3: // everything is renamed
			return map[string]string{"chosen": "a switch to it is in progress"}, nil
		}
		return nil, nil
	}
	done, err := s.Prune(t.Context(), opt)
	must(t, err)
	if got := left(t, s); got != "chosen inside late new program" || asked != 3 {
		t.Errorf("left: %s; asked %d times", got, asked)
	}
	for name, says := range map[string]string{
		"inside": "sleep (pid ", "program": "runs a program from it", "late": "working directory in it",
		"chosen": "a switch to it",
	} {
		if !strings.Contains(whys(done)[name], says) {
			t.Errorf("%s: %q", name, whys(done)[name])
		}
	}
}

func TestAPruneRemovesNothingOnceTheDaemonIsGone(t *testing.T) {
	for when := 1; when <= 3; when++ {
		s := whole(t, "r1", "r2", "r3")
		opt := options(1)
		asked := 0
		opt.Protected = func(context.Context) (map[string]string, error) {
			if asked++; asked >= when {
				return nil, errors.New("the daemon is gone")
			}
			return nil, nil
		}
		_, err := s.Prune(t.Context(), opt)
		if err == nil || !strings.Contains(err.Error(), "the daemon is gone") || left(t, s) != "r1 r2 r3" {
			t.Errorf("at the question %d: %v, left %s", when, err, left(t, s))
		}
	}
}

func TestAPruneRemovesLeftoversAndDoesNotWait(t *testing.T) {
	s := whole(t, "r1")
	for _, name := range []string{".r2.partial", ".r0.removed"} {
		write(t, filepath.Join(s.Dir, name, "a", "b"), "x")
	}
	write(t, filepath.Join(s.Dir, ".cache", "x"), "")
	lock, err := s.Lock("install of r2")
	must(t, err)
	var locked *LockedError
	_, err = s.Prune(t.Context(), options(1))
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), "install of r2, pid") {
		t.Errorf("%v", err)
	}
	opt := options(1)
	opt.DryRun = true
	if done, err := s.Prune(t.Context(), opt); err != nil || len(done.Leftovers) != 0 {
		t.Errorf("during an install: %v, %v", done.Leftovers, err)
	}
	must(t, lock.Unlock())
	done, err := s.Prune(t.Context(), options(1))
	leftovers := slices.Equal(done.Leftovers, []string{".r0.removed", ".r2.partial"})
	if err != nil || !leftovers || left(t, s) != ".cache r1" {
		t.Errorf("%v, %v, left %s", done.Leftovers, err, left(t, s))
	}
	// A half-removed release cannot be switched to.
	write(t, filepath.Join(s.Dir, ".r0.removed", "manage.py"), "")
	for _, word := range []string{".r0.removed", "r0", ".r0"} {
		if r, err := s.Resolve(word, Refs{}); err == nil {
			t.Errorf("%s is %s", word, r.Path)
		}
	}
}

func TestAPruneThatWasInterruptedIsContinued(t *testing.T) {
	s := whole(t, "r1", "r2", "r3")
	must(t, os.Rename(filepath.Join(s.Dir, "r1"), filepath.Join(s.Dir, ".r1.hidden")))
	must(t, os.Rename(filepath.Join(s.Dir, "r2"), filepath.Join(s.Dir, ".r2.removed"))) // it may lack files
	users := make([]*exec.Cmd, 2)
	for i, dir := range []string{".r1.hidden", ".r2.removed"} {
		users[i] = exec.Command("sleep", "1000")
		users[i].Dir = filepath.Join(s.Dir, dir)
		must(t, users[i].Start())
		t.Cleanup(func() { _ = users[i].Process.Kill(); _ = users[i].Wait() })
	}
	done, err := s.Prune(t.Context(), options(1))
	if err != nil || len(done.Removed) != 0 || left(t, s) != ".r2.removed r1 r3" {
		t.Fatalf("in use: %+v, %v, left %s", done, err, left(t, s))
	}
	// Another r2 takes the place of the one that is still in use.
	write(t, filepath.Join(s.Dir, "r2", "REVISION"), commit)
	old := time.Unix(1_600_000_000, 0)
	must(t, os.Chtimes(filepath.Join(s.Dir, "r2"), old, old))
	write(t, filepath.Join(s.Dir, ".r3.hidden", "manage.py"), "")
	if _, err := s.Prune(t.Context(), options(1)); err != nil || left(t, s) != ".r2.removed r1 r3" {
		t.Fatalf("another of the same name: %v, left %s", err, left(t, s))
	}
	for _, user := range users {
		_ = user.Process.Kill()
		_ = user.Wait()
	}
	if _, err := s.Prune(t.Context(), options(1)); err != nil || left(t, s) != "r3" {
		t.Fatalf("after their end: %v, left %s", err, left(t, s))
	}
}

func TestAReleaseIsNotRemovedWhileOneIsChosen(t *testing.T) {
	s := whole(t, "r1", "r2")
	thaw, err := s.Freeze(t.Context())
	must(t, err)
	both, err := s.Freeze(t.Context()) // two may choose at once
	must(t, err)
	both()
	ctx, cancel := context.WithCancelCause(t.Context())
	tired := errors.New("tired of waiting")
	cancel(tired)
	if _, err := s.Prune(ctx, options(1)); !errors.Is(err, tired) || left(t, s) != "r1 r2" {
		t.Errorf("%v, left %s", err, left(t, s))
	}
	_, err = (&Store{Dir: s.Dir + "/none"}).Freeze(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not exist: make it") {
		t.Errorf("%v", err)
	}
	thaw()
	if _, err := s.Prune(t.Context(), options(1)); err != nil || left(t, s) != "r2" {
		t.Errorf("%v, left %s", err, left(t, s))
	}
}

func TestAReadOnlyReleaseIsRemovedByItsOwner(t *testing.T) {
	top := t.TempDir()
	must(t, os.Chmod(top, 0o777)) // another user works in it
	for dir := filepath.Dir(top); dir != "/" && strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755)) // likewise
	}
	outside, dir := filepath.Join(top, "outside"), filepath.Join(top, ".r1.removed")
	write(t, filepath.Join(outside, "precious"), "x")
	must(t, os.Chmod(outside, 0o555)) // likewise
	ended := make(chan error, 1)
	go func() {
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
			for _, id := range []int{1, 65534} {
				_, _ = unix.SetfsuidRetUid(id)
			}
		}
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755),
			os.WriteFile(filepath.Join(dir, "a", "b", "c"), nil, 0o444),
			os.Symlink(outside, filepath.Join(dir, "a", "link")))
		for _, path := range []string{filepath.Join(dir, "a", "b"), filepath.Join(dir, "a"), dir} {
			err = errors.Join(err, os.Chmod(path, 0o555)) // as an install leaves it
		}
		root, bad := beneath.Open(top)
		if err = errors.Join(err, bad); err == nil {
			err = errors.Join((&prune{root: root}).removeDir(context.Background(), ".r1.removed"), root.Close())
		}
		ended <- err
	}()
	must(t, <-ended)
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	st, err := os.Stat(outside)
	must(t, err)
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil || st.Mode().Perm() != 0o555 {
		t.Errorf("outside: %v, %s", err, st.Mode())
	}
	must(t, os.Chmod(outside, 0o755)) // so that it can be removed
}

func TestAMountPointInAReleaseIsFound(t *testing.T) {
	for dir, want := range map[string]string{"/proc": "/proc", t.TempDir(): ""} {
		if at, err := mountedIn(dir); at != want || err != nil {
			t.Errorf("%s: %q, %v", dir, at, err)
		}
	}
}

func TestAPinIsIdempotentAndOutsideTheRelease(t *testing.T) {
	s := whole(t, "r1")
	for i, want := range []bool{true, false} {
		if changed, err := s.Pin("r1", Pin{Note: "why"}); err != nil || changed != want {
			t.Errorf("%d: %v, %v", i, changed, err)
		}
	}
	if changed, err := s.Pin("r1", Pin{Note: "another"}); err != nil || !changed {
		t.Errorf("another note: %v, %v", changed, err)
	}
	write(t, filepath.Join(s.Dir, ownName, pinsName, "r0"), "\x1b[2J")
	pins, err := s.Pins()
	if err != nil || len(pins) != 2 || pins["r1"].Note != "another" || pins["r0"].String() != "pinned" {
		t.Errorf("%v, %v", pins, err)
	}
	if left(t, s) != "r1" {
		t.Errorf("left: %s", left(t, s))
	}
	for i, want := range []bool{true, false} {
		if changed, err := s.Unpin("r1"); err != nil || changed != want {
			t.Errorf("%d: %v, %v", i, changed, err)
		}
	}
}

func TestTheSpaceOfAFileWithSeveralNamesCountsOnce(t *testing.T) {
	top := t.TempDir()
	a, b := filepath.Join(top, "a"), filepath.Join(top, "b")
	write(t, filepath.Join(a, "x", "data"), strings.Repeat("x", 1<<20))
	must(t, os.Link(filepath.Join(a, "x", "data"), filepath.Join(a, "again")))
	must(t, os.Mkdir(b, 0o755))
	empty := DiskUse(t.Context(), b)
	one := DiskUse(t.Context(), a)
	if one.Bytes < 1<<20 || one.Bytes > 3<<19 || one.Own != one.Bytes || one.Partial {
		t.Errorf("%+v", one)
	}
	must(t, os.Link(filepath.Join(a, "again"), filepath.Join(b, "shared")))
	if shared := DiskUse(t.Context(), a); shared.Bytes != one.Bytes || shared.Own > one.Own-1<<20 {
		t.Errorf("%+v, alone %+v", shared, one)
	}
	if both := DiskUse(t.Context(), a, b); both.Bytes != one.Bytes+empty.Bytes || both.Own != both.Bytes {
		t.Errorf("%+v, one %+v", both, one)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !DiskUse(ctx, a).Partial || !DiskUse(t.Context(), filepath.Join(top, "none")).Partial {
		t.Error("an incomplete count is not reported as partial")
	}
}

// A container's files are on overlayfs, where a file that a lower layer of another file system has is not
// on the device of its directory.
func TestTheFilesOfAContainerCountAsDiskUse(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir(filepath.Join(top, dir), 0o755))
	}
	if err := unix.Mount("none", filepath.Join(top, "lower"), "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("only root can mount a file system: %v", err)
	}
	defer unix.Unmount(filepath.Join(top, "lower"), unix.MNT_DETACH)
	write(t, filepath.Join(top, "lower", "release", "data"), strings.Repeat("x", 1<<20))
	merged := filepath.Join(top, "merged")
	if err := unix.Mount("none", merged, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", top)); err != nil {
		t.Skipf("no overlay can be mounted here, as in some containers: %v", err)
	}
	defer unix.Unmount(merged, unix.MNT_DETACH)
	if use := DiskUse(t.Context(), filepath.Join(merged, "release")); use.Bytes < 1<<20 {
		t.Errorf("%+v", use)
	}
	must(t, unix.Mount("none", filepath.Join(merged, "release"), "tmpfs", 0, "size=4m"))
	defer unix.Unmount(filepath.Join(merged, "release"), unix.MNT_DETACH)
	write(t, filepath.Join(merged, "release", "data"), strings.Repeat("x", 1<<20))
	if use := DiskUse(t.Context(), merged); use.Bytes >= 1<<20 {
		t.Errorf("another file system counts: %+v", use)
	}
}

func TestAReleaseThatAnotherToolIsCopyingIsNotPruned(t *testing.T) {
	now := options(1).Now
	for name, c := range map[string]struct {
		marker string // in the release, or beside the releases for a link to it
		age    time.Duration
		copied bool // a file is written while prune looks
		why    string
	}{
		"rsync --delay-updates": {marker: ".~tmp~/app.py", age: time.Hour, why: "the marker .~tmp~ is there"},
		"rsync --partial-dir": {
			marker: ".rsync-partial/app.py", age: time.Hour, why: "the marker .rsync-partial is there",
		},
		"what rsync left last week": {marker: ".rsync-partial/app.py", age: 7 * 24 * time.Hour},
		"deploy_helper of Ansible": {
			marker: "DEPLOY_UNFINISHED", age: time.Hour, why: "the marker DEPLOY_UNFINISHED is there",
		},
		"deploy_helper last week":      {marker: "DEPLOY_UNFINISHED", age: 7 * 24 * time.Hour},
		"a script of somebody's":       {marker: ".deploying", age: time.Hour, why: "the marker .deploying is there"},
		"Deployer":                     {marker: "../../release", age: time.Hour, why: "the marker release is there"},
		"a copy that leaves no marker": {copied: true, why: "its files are changing"},
		"nobody":                       {},
	} {
		t.Run(name, func(t *testing.T) {
			s := whole(t, "old", "new")
			old := filepath.Join(s.Dir, "old")
			if c.marker != "" {
				at := filepath.Join(old, c.marker)
				if strings.HasPrefix(c.marker, "..") {
					must(t, os.Symlink(old, at))
				} else {
					write(t, at, "")
				}
				then := now.Add(-c.age)
				for path := at; path != s.Dir && strings.HasPrefix(path, s.Dir); path = filepath.Dir(path) {
					must(t, os.Chtimes(path, then, then))
				}
			}
			s.pause = func(time.Duration) {
				if c.copied {
					write(t, filepath.Join(old, "more"), "copied")
				}
			}
			done, err := s.Prune(t.Context(), options(1))
			must(t, err)
			why := whys(done)["old"]
			if (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
				t.Errorf("kept because %q, want %q", why, c.why)
			}
			if _, err := os.Stat(old); (err == nil) != (c.why != "") {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestLinksToOneReleaseCountAsOneOfTheNewest(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "app")
	write(t, filepath.Join(outside, "REVISION"), commit)
	for name, target := range map[string]string{"a release of the store": "r3", "a directory outside of it": outside} {
		t.Run(name, func(t *testing.T) {
			s := whole(t, "r1", "r2", "r3")
			for _, link := range []string{"a", "b", "c"} {
				must(t, os.Symlink(target, filepath.Join(s.Dir, link)))
			}
			_, err := s.Prune(t.Context(), options(2))
			must(t, err)
			want := "a b c r2 r3"
			if target == outside {
				want = "a b c r3"
			}
			if got := left(t, s); got != want {
				t.Errorf("left %s, want %s", got, want)
			}
		})
	}
}
