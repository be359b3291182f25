package releases

import (
	"os"
	"path/filepath"
	"testing"
)

// twoReleases returns a store with r1, the target of current, and r2, and the Paths of r2.
func twoReleases(t *testing.T) (root string, p *Paths) {
	t.Helper()
	root = t.TempDir()
	for _, dir := range []string{
		"releases/r1/venv/bin", "releases/r2/venv/bin", "releases/.superctl", "shared", "elsewhere/r3",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"current": "releases/r1", "www": "current", "releases/r3": "../elsewhere/r3",
		"releases/r2/data": "../../shared",
		"releases/r2/old":  "../r1/venv", "alias": "releases/r2", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(filepath.Join(root, "releases"), filepath.Join(root, "current"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = s.Paths(filepath.Join(root, "releases/r2")); err != nil {
		t.Fatal(err)
	}
	return root, p
}

func TestAPathThatLeavesItsReleaseIsFound(t *testing.T) {
	root, p := twoReleases(t)
	for path, want := range map[string]Detour{
		root + "/current":                   {Current: root + "/current", Release: "r1"},
		root + "/current/venv/bin/gunicorn": {Current: root + "/current", Release: "r1", Rest: "venv/bin/gunicorn"},
		root + "/www/app.py":                {Current: root + "/current", Release: "r1", Rest: "app.py"},
		root + "/shared/../current/x":       {Current: root + "/current", Release: "r1", Rest: "x"},
		root + "//current/./x":              {Current: root + "/current", Release: "r1", Rest: "x"},
		root + "/releases/r1/app":           {Release: "r1", Rest: "app"},
		root + "/releases/r1":               {Release: "r1"},
		root + "/releases/gone/app":         {Release: "gone", Rest: "app"},
		root + "/releases/r3/app":           {Release: "r3", Rest: "app"},
		root + "/elsewhere/r3/app":          {Release: "r3", Rest: "app"},
		"../r1/app":                         {Release: "r1", Rest: "app"},
		"../../current":                     {Current: root + "/current", Release: "r1"},
		"old/bin/python":                    {Release: "r1", Rest: "venv/bin/python"},
		root + "/alias/old/bin":             {Release: "r1", Rest: "venv/bin"},
	} {
		d, found := p.Find(path, filepath.Join(root, "releases/r2"))
		if want.Path = path; !found || d != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", path, d, found, want)
		}
	}
}

func TestAPathThatStaysInItsReleaseIsNoDetour(t *testing.T) {
	root, p := twoReleases(t)
	for _, path := range []string{
		"", ".", "app.py", "venv/bin/python", "..", "../..", "data/x", root + "/releases/r2",
		root + "/releases/r2/app", root + "/alias/app", root + "/releases", root + "/releases/.superctl/x",
		root + "/shared", root + "/currently", "/usr/bin/python3", root + "/loop/x", "\x00",
	} {
		if d, found := p.Find(path, filepath.Join(root, "releases/r2")); found {
			t.Errorf("%q: %+v", path, d)
		}
	}
}

func TestAPathIsFoundInAnyText(t *testing.T) {
	root, p := twoReleases(t)
	for _, text := range []string{
		"%s", "--chdir=%s", "-C%s", "cd %s && exec gunicorn app", "sys.path.insert(0, '%s')", `chdir = "%s/app"`,
		"/usr/bin:%s/venv/bin:/bin", "a,%s", "file://%s/x", "[%s]",
		"PYTHONPATH=/lib:%s", "$(cat %s/file)", "@%s/file", "/usr/bin %s", "key: %s", "<chdir>%s</chdir>", "`%s/x`",
	} {
		line := text
		for i := range len(text) - 1 {
			if text[i:i+2] == "%s" {
				line = text[:i] + root + "/current" + text[i+2:]
			}
		}
		if d, found := p.InText(line, "/"); !found || d.Release != "r1" {
			t.Errorf("%s: %+v, %v", line, d, found)
		}
	}
	for _, text := range []string{
		"", "gunicorn shop.wsgi", "https://example.org/current", root + "/releases/r2/app", "%d", "a/b",
		root + "/shared:" + root + "/currents",
	} {
		if d, found := p.InText(text, filepath.Join(root, "releases/r2")); found {
			t.Errorf("%s: %+v", text, d)
		}
	}
}

func FuzzPathsInText(f *testing.F) {
	f.Add("--chdir=/srv/shop/current")
	f.Add("../../x:`/a/b`")
	f.Fuzz(func(t *testing.T, text string) {
		p := &Paths{
			own: []string{"/srv/r2"}, others: map[string]string{"/srv/r1": "r1"},
			dir: "/srv", current: "/current", link: "/current",
		}
		if d, found := p.InText(text, "/srv/r2"); found && d.Current == "" && d.Release == "" {
			t.Errorf("%q: %+v", text, d)
		}
	})
}
