package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"superctl/api"
	"superctl/supervisor"
)

// venvWith makes a release whose virtualenv has directories of these names in site-packages.
func venvWith(t *testing.T, names ...string) supervisor.Release {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, "venv", "lib", "python3.13", "site-packages", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return supervisor.Release{Name: filepath.Base(dir), Path: dir}
}

func TestThePackagesThatDifferAreNamedWithVersions(t *testing.T) {
	was := venvWith(t, "Django-5.1.2.dist-info", "django", "zope.interface-7.0.dist-info", "old_one-1.0.dist-info",
		"gunicorn-23.0.0.dist-info")
	is := venvWith(t, "django-5.2.dist-info", "django", "zope_interface-7.0.dist-info", "new_one-2.0.dist-info",
		"gunicorn-23.0.0.dist-info")
	got, err := comparePackages(was, is)
	want := &api.PackageChanges{
		Added:   []api.PackageChange{{Name: "new-one", To: "2.0"}},
		Removed: []api.PackageChange{{Name: "old-one", From: "1.0"}},
		Changed: []api.PackageChange{{Name: "django", From: "5.1.2", To: "5.2"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if same, err := comparePackages(is, is); same != nil || err != nil {
		t.Errorf("of a release and itself: %+v, %v", same, err)
	}
	if _, err := comparePackages(was, supervisor.Release{Name: "r3", Path: t.TempDir()}); err == nil {
		t.Error("a release without a virtualenv has packages")
	}
}
