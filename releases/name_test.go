package releases

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALinkToAReleaseIsAnotherNameForIt(t *testing.T) {
	s := ordered(t, "r1", "r2")
	must(t, s.Record())
	must(t, os.Symlink("r1", filepath.Join(s.Dir, "stable")))
	must(t, s.Record())
	list, err := s.List()
	must(t, err)
	if len(list) != 2 || latestOf(t, s) != "r2" {
		t.Errorf("%v, latest is %s", list, latestOf(t, s))
	}
	for word, want := range map[string]string{"stable": "r1", "live": "r1", "previous": "r2"} {
		r, err := s.Resolve(word, Refs{Live: "stable", Previous: "r2"})
		if err != nil || r.Name != want {
			t.Errorf("%s is %s, %v", word, r.Name, err)
		}
	}
	must(t, os.Remove(filepath.Join(s.Dir, "stable")))
	must(t, os.Symlink("r2", filepath.Join(s.Dir, "stable")))
	if r, err := s.Resolve("stable", Refs{Live: "r1"}); err != nil || r.Name != "r2" {
		t.Errorf("the link was moved to r2, and is %s, %v", r.Name, err)
	}
}

func TestALinkOutOfTheReleasesIsARelease(t *testing.T) {
	s := ordered(t, "r1")
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "app.py"), nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(s.Dir, "dev")))
	if r, err := s.Resolve("dev", Refs{}); err != nil || r.Name != "dev" {
		t.Errorf("%s, %v", r.Name, err)
	}
}

func TestANameThatCannotBeUsedIsTheReason(t *testing.T) {
	for name, want := range map[string]string{
		"r\n2": "cannot be shown", "r\x1b[31m2": "cannot be shown", "r\xff2": "cannot be shown",
		"r\t2": "cannot be shown", "r\u202e2": "cannot be shown",
		"with space": "has a ' '", "2026-11-30T10:00": "has a ':'", "r[2]": "has a '['", "r$(id)": "has a '$'",
		"2026-11-30_1+a~b@c": "", "größe": "",
	} {
		s := ordered(t, name)
		must(t, os.MkdirAll(filepath.Join(s.Dir, name, "venv"), 0o755))
		r, err := s.Resolve(name, Refs{})
		must(t, err)
		if (r.Broken == nil) != (want == "") || r.Broken != nil && !strings.Contains(r.Broken.Error(), want) {
			t.Errorf("%q: %v", name, r.Broken)
		}
		if r, err := s.Get(filepath.Join(s.Dir, name)); err != nil || r.Broken != nil {
			t.Errorf("%q runs already, but: %v, %v", name, r.Broken, err)
		}
	}
}
