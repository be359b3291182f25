package releases

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ordered returns a store with the releases, oldest first, and a path for the record of their
// order.
func ordered(t *testing.T, names ...string) *Store {
	t.Helper()
	dir := t.TempDir()
	s := &Store{Dir: filepath.Join(dir, "releases"), Order: filepath.Join(dir, "order.json")}
	must(t, os.Mkdir(s.Dir, 0o755))
	for i, name := range names {
		add(t, s, name)
		at := time.Now().Add(time.Duration(i-len(names)) * time.Hour)
		must(t, os.Chtimes(filepath.Join(s.Dir, name), at, at))
	}
	s.pause = func(time.Duration) {}
	return s
}

func add(t *testing.T, s *Store, name string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(s.Dir, name), 0o755))
	must(t, os.WriteFile(filepath.Join(s.Dir, name, "app.py"), nil, 0o600))
}

func latestOf(t *testing.T, s *Store) string {
	t.Helper()
	r, err := s.Resolve("latest", Refs{})
	must(t, err)
	return r.Name
}

func TestATouchedReleaseIsNotTheLatest(t *testing.T) {
	s := ordered(t, "r1", "r2")
	must(t, s.Record())
	must(t, os.Chtimes(filepath.Join(s.Dir, "r1"), time.Now().Add(time.Hour), time.Now().Add(time.Hour)))
	must(t, s.Record())
	if got := latestOf(t, s); got != "r2" {
		t.Errorf("latest is %s", got)
	}
}

func TestWithoutARecordTheLaterReleaseIsNewer(t *testing.T) {
	s := ordered(t)
	s.Order = ""
	add(t, s, "b")
	for { // until the file system's clock has advanced
		add(t, s, "a")
		_, older := born(filepath.Join(s.Dir, "b"))
		if _, newer := born(filepath.Join(s.Dir, "a")); newer.After(older) {
			break
		}
		must(t, os.RemoveAll(filepath.Join(s.Dir, "a")))
	}
	must(t, os.WriteFile(filepath.Join(s.Dir, "b", "new"), nil, 0o600)) // changes its directory
	if got := latestOf(t, s); got != "a" {
		t.Errorf("latest is %s", got)
	}
}

func TestAReleaseThatArrivesWithOldTimesIsTheLatest(t *testing.T) {
	s := ordered(t, "r1", "r2")
	must(t, s.Record())
	add(t, s, "r0")
	old := time.Now().Add(-1000 * time.Hour)
	must(t, os.Chtimes(filepath.Join(s.Dir, "r0"), old, old))
	if got := latestOf(t, s); got != "r0" {
		t.Errorf("latest is %s", got)
	}
	must(t, s.Record())
	if got := latestOf(t, s); got != "r0" {
		t.Errorf("recorded, latest is %s", got)
	}
}

// The clock of the machine was ahead while a release appeared, and has been set right since.
func TestAReleaseIsTheLatestAfterTheClockWasSetBack(t *testing.T) {
	s := ordered(t, "r3", "r2")
	must(t, s.Record())
	ahead := s.readOrder()
	ahead.Looked = time.Now().Add(24 * time.Hour)
	seen := ahead.Releases["r2"]
	seen.At = ahead.Looked
	ahead.Releases["r2"] = seen
	text, err := json.Marshal(ahead)
	must(t, err)
	must(t, os.WriteFile(s.Order, text, 0o600))
	for _, name := range []string{"r1", "r0"} {
		add(t, s, name)
		if got := latestOf(t, s); got != name {
			t.Errorf("before it is recorded: latest is %s, not %s", got, name)
		}
		must(t, s.Record())
		if got := latestOf(t, s); got != name {
			t.Errorf("latest is %s, not %s", got, name)
		}
	}
}

func TestNoReleaseIsHiddenByAWordForAnother(t *testing.T) {
	s := ordered(t, "r1", "r2")
	must(t, os.Symlink("r1", filepath.Join(s.Dir, "latest")))
	if got := latestOf(t, s); got != "r2" {
		t.Errorf("with a link of that name, latest is %s", got)
	}
	must(t, os.Remove(filepath.Join(s.Dir, "latest")))
	for _, word := range []string{"latest", "live", "current", "previous", "none"} {
		add(t, s, word)
		r, err := s.Resolve(word, Refs{Live: "r2", Previous: "r1"})
		if err == nil {
			err = r.Check(t.Context(), CheckOptions{NoVirtualenv: true})
		}
		if err == nil || !strings.Contains(err.Error(), "rename the directory") {
			t.Errorf("%s is %s: %v", word, r.Name, err)
		}
	}
}

func TestARecreatedDirectoryIsAnotherRelease(t *testing.T) {
	s := ordered(t, "r1", "r2")
	must(t, s.Record())
	gone := filepath.Join(filepath.Dir(s.Dir), "gone") // keeps the inode from being reused
	must(t, os.Rename(filepath.Join(s.Dir, "r1"), gone))
	add(t, s, "r1")
	if got := latestOf(t, s); got != "r1" {
		t.Errorf("latest is %s", got)
	}
}

func TestADamagedRecordIsReplaced(t *testing.T) {
	s := ordered(t, "r1", "r2")
	for _, text := range []string{"", "{", `{"looked": 3}`, `{"releases": null}`} {
		must(t, os.WriteFile(s.Order, []byte(text), 0o600))
		if got := latestOf(t, s); got != "r2" {
			t.Errorf("%q: latest is %s", text, got)
		}
	}
	must(t, s.Record())
	if o := s.readOrder(); len(o.Releases) != 2 {
		t.Errorf("%+v", o)
	}
}

func TestTheLatestReleaseIsCompleteWhateverToolMadeIt(t *testing.T) {
	for _, m := range markers {
		t.Run(m.name, func(t *testing.T) {
			s := ordered(t, "r1", "r2")
			must(t, os.MkdirAll(filepath.Join(s.Dir, "r2", filepath.Dir(m.name)), 0o755))
			must(t, os.WriteFile(filepath.Join(s.Dir, "r2", m.name), nil, 0o600))
			if got := latestOf(t, s); got != "r1" {
				t.Errorf("latest is %s", got)
			}
			if r, err := s.Resolve("r2", Refs{}); err != nil || m.sure != (r.Broken != nil) {
				t.Errorf("by its name: %v, %v", r.Broken, err)
			}
		})
	}
	t.Run("Deployer", func(t *testing.T) {
		s := ordered(t, "1", "2")
		must(t, os.Symlink("releases/2", filepath.Join(filepath.Dir(s.Dir), "release")))
		if got := latestOf(t, s); got != "1" {
			t.Errorf("latest is %s", got)
		}
	})
}

func TestADirectoryThatIsByItsNameNoReleaseIsNotTheLatest(t *testing.T) {
	for _, name := range []string{"r3.partial", "r3.tmp", "r3.TMP", "r3.bak", "r1.old", "r3~"} {
		t.Run(name, func(t *testing.T) {
			s := ordered(t, "r2", name)
			r, err := s.Resolve("latest", Refs{})
			must(t, err)
			if r.Name != "r2" || len(r.Skipped) != 1 || !strings.HasPrefix(r.Skipped[0], "release "+name+": it ") {
				t.Errorf("latest is %s, skipped %q", r.Name, r.Skipped)
			}
			if r, err := s.Resolve(name, Refs{}); err != nil || r.Broken != nil {
				t.Errorf("by its name: %v, %v", r.Broken, err)
			}
		})
	}
	for _, name := range []string{"1.0~rc1", "2026-remove-old", "tmp-fix", "r3.12"} {
		t.Run(name, func(t *testing.T) {
			if got := latestOf(t, ordered(t, "r2", name)); got != name {
				t.Errorf("latest is %s", got)
			}
		})
	}
}

func TestLostAndFoundIsNoRelease(t *testing.T) {
	s := ordered(t, "r1", "lost+found")
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Name != "r1" {
		t.Errorf("%+v, %v", list, err)
	}
}

// bornOnce skips a test on a file system that does not record when a directory was created.
func bornOnce(t *testing.T, s *Store) {
	t.Helper()
	if directory, _ := born(s.Dir); strings.Count(directory, ":") != 3 {
		t.Skip("this file system does not record the birth of a directory")
	}
}

func TestARenamedReleaseKeepsItsAge(t *testing.T) {
	s := ordered(t, "r1", "r2")
	bornOnce(t, s)
	must(t, s.Record())
	for _, names := range [][2]string{{"r1", "r1.old"}, {"r1.old", "r1"}, {"r1", "broken-r1"}} {
		must(t, os.Rename(filepath.Join(s.Dir, names[0]), filepath.Join(s.Dir, names[1])))
		if got := latestOf(t, s); got != "r2" {
			t.Errorf("%s is %s now, and latest is %s", names[0], names[1], got)
		}
		must(t, s.Record())
		if got := latestOf(t, s); got != "r2" {
			t.Errorf("recorded, %s is %s now, and latest is %s", names[0], names[1], got)
		}
	}
}

func TestAReleaseThatGetsItsNameWhenItIsCompleteIsNew(t *testing.T) {
	s := ordered(t, "r1", "r3.partial", "r2")
	bornOnce(t, s)
	must(t, s.Record())
	must(t, os.Rename(filepath.Join(s.Dir, "r3.partial"), filepath.Join(s.Dir, "r3")))
	if got := latestOf(t, s); got != "r3" {
		t.Errorf("latest is %s", got)
	}
}

func TestAReleaseThatIsBeingCopiedIsNotTheLatest(t *testing.T) {
	s := ordered(t, "r1", "r2")
	copied := 0
	s.pause = func(time.Duration) {
		copied++
		must(t, os.WriteFile(filepath.Join(s.Dir, "r2", "more"), make([]byte, copied), 0o600))
	}
	// r1 was also modified a moment ago, but not since.
	if got := latestOf(t, s); got != "r1" || copied == 0 {
		t.Errorf("latest is %s after %d looks", got, copied)
	}
	if r, err := s.Resolve("latest", Refs{Live: "r2"}); err != nil || r.Name != "r2" {
		t.Errorf("the live release, which writes into its directory: %s, %v", r.Name, err)
	}
}

func TestWithoutACompleteReleaseThereIsNoLatest(t *testing.T) {
	s := ordered(t, "r1")
	must(t, os.WriteFile(filepath.Join(s.Dir, "r1", "DEPLOY_UNFINISHED"), nil, 0o600))
	if _, err := s.Resolve("latest", Refs{}); err == nil || !strings.Contains(err.Error(), "DEPLOY_UNFINISHED") {
		t.Errorf("%v", err)
	}
}

func TestALinkThatWasMovedIsFound(t *testing.T) {
	s := ordered(t, "r1", "r2")
	s.Current = filepath.Join(filepath.Dir(s.Dir), "current")
	live := filepath.Join(s.Dir, "r1")
	for to, want := range map[string]string{
		"": "nothing: it does not exist", "releases/r1": "", live: "",
		"releases/r2": "releases/r2", "releases/gone": "releases/gone",
	} {
		_ = os.Remove(s.Current)
		if to != "" {
			must(t, os.Symlink(to, s.Current))
		}
		if got := s.Moved(live); got != want {
			t.Errorf("%q: %q", to, got)
		}
	}
	must(t, os.RemoveAll(live))
	for _, to := range []string{"releases/r1", live} { // the release is gone, and the link was not moved
		_ = os.Remove(s.Current)
		must(t, os.Symlink(to, s.Current))
		if got := s.Moved(live); got != "" {
			t.Errorf("%q: %q", to, got)
		}
	}
}

func TestADirectoryInThePlaceOfAnotherHasAnotherIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	must(t, os.Mkdir(dir, 0o755))
	was := Identity(dir)
	must(t, os.WriteFile(filepath.Join(dir, "app.py"), nil, 0o600))
	if is := Identity(dir); is != was {
		t.Errorf("a file was added: %s, and it was %s", is, was)
	}
	_, before := born(dir)
	must(t, os.RemoveAll(dir))
	for now := before; !now.After(before); { // until the file system's clock has advanced
		probe := filepath.Join(t.TempDir(), "probe")
		must(t, os.Mkdir(probe, 0o755))
		_, now = born(probe)
	}
	must(t, os.Mkdir(dir, 0o755))
	if is := Identity(dir); is == was && was != "" {
		t.Errorf("another directory has the identity %s too", is)
	}
}
