package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"superctl/api"
	"superctl/config"
	"superctl/releases"
	"superctl/supervisor"
)

// TestASwitchWarnsOfACopyThatMayBeInProgress is about the markers that may be leftovers: one that is
// sure to be none breaks the release.
func TestASwitchWarnsOfACopyThatMayBeInProgress(t *testing.T) {
	dir := t.TempDir()
	release := filepath.Join(dir, "releases", "r1")
	if err := os.MkdirAll(filepath.Join(release, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shop.toml")
	text := "app = \"shop\"\nreleases = \"" + filepath.Dir(release) + "\"\nstate = \"" + dir + "/state\"\ncontrol = \"" + dir + "/s\"\n" +
		"virtualenv = false\n[process.web]\ncommand = [\"/bin/sleep\", \"9\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &planner{path: path, secrets: &secretSource{}}
	warnings := func(target supervisor.Target) []string {
		plan, err := p.resolve(t.Context(), target)
		if err != nil {
			t.Fatalf("%+v: %v", target, err)
		}
		return plan.Warnings
	}
	to := supervisor.Target{Kind: supervisor.Switch, Word: "r1"}
	if got := warnings(to); len(got) > 0 {
		t.Errorf("of a complete release: %q", got)
	}
	marker := filepath.Join(release, ".git", "index.lock")
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(warnings(to), func(text string) bool {
		return strings.HasPrefix(text, "release r1: it may be incomplete: the marker "+marker+" is there (of git)")
	}) {
		t.Errorf("%q", warnings(to))
	}
	live := supervisor.Target{Kind: supervisor.Reload, Live: &supervisor.Release{Name: "r1", Path: release}}
	if got := warnings(live); len(got) > 0 {
		t.Errorf("of a reload of the release that is live: %q", got)
	}
}

func TestASwitchToTheLatestNamesWhatItHasSkipped(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"r1", "r2.partial"} {
		if err := os.MkdirAll(filepath.Join(dir, "releases", name, "src"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "shop.toml")
	text := "app = \"shop\"\nreleases = \"" + dir + "/releases\"\nstate = \"" + dir + "/state\"\ncontrol = \"" + dir + "/s\"\n" +
		"virtualenv = false\n[process.web]\ncommand = [\"/bin/sleep\", \"9\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &planner{path: path, secrets: &secretSource{}}
	plan, err := p.resolve(t.Context(), supervisor.Target{Kind: supervisor.Switch, Word: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"latest is r1: skipped release r2.partial: it may be incomplete: its name ends in .partial; rename it when it is complete"}
	if plan.Release.Name != "r1" || !slices.Equal(plan.Warnings, want) {
		t.Errorf("%s, %q", plan.Release.Name, plan.Warnings)
	}
}

// A path of this release ends at the comma in texts, so it seems to lead into another one, "r".
func TestANameThatCannotBeUsedIsTheReasonAndNotItsPaths(t *testing.T) {
	path, r1 := siteWith(t, "[process.web]\ncommand = [\"/bin/sleep\", \"9\"]\n")
	named := filepath.Join(filepath.Dir(r1.Path), "r,1")
	if err := os.MkdirAll(filepath.Join(named, "venv", "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(text), "virtualenv = false", "", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &planner{path: path, secrets: &secretSource{}}
	_, err = p.resolve(t.Context(), supervisor.Target{Kind: supervisor.Switch, Word: "r,1"})
	if err == nil || !strings.HasPrefix(err.Error(), "release r,1 is broken: its name has a ','") {
		t.Errorf("%v", err)
	}
}

// siteWith returns the path of a config with these tables, and the release r1, which is empty.
func siteWith(t *testing.T, tables string) (path string, r1 releases.Release) {
	t.Helper()
	dir := t.TempDir()
	release := filepath.Join(dir, "releases", "r1")
	if err := os.MkdirAll(filepath.Join(release, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "shop.toml")
	text := "app = \"shop\"\nreleases = \"" + filepath.Dir(release) + "\"\nstate = \"" + dir + "/state\"\ncontrol = \"" + dir + "/s\"\n" +
		"virtualenv = false\n" + tables
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, releases.Release{Name: "r1", Path: release}
}

func TestAChangeWarnsOfCommandsWithoutTheirProgram(t *testing.T) {
	path, _ := siteWith(t, "[process.web]\ncommand = [\"/bin/sleep\", \"9\"]\n"+
		"[cron.good]\nschedule = \"daily\"\ncommand = \"sleep 1\"\n"+
		"[cron.clear]\nschedule = \"daily\"\ncommand = \"pyhton manage.py clearsessions\"\n"+
		"[hooks]\nafter = [\"sleep 0\", \"pyhton manage.py warm\"]\n")
	p := &planner{path: path, secrets: &secretSource{}}
	plan, err := p.resolve(t.Context(), supervisor.Target{Kind: supervisor.Switch, Word: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	const says = ` cannot run in release r1: command "pyhton" is not in PATH`
	if got := plan.Warnings; len(got) != 2 || !strings.HasPrefix(got[0], "cron.clear"+says) ||
		!strings.HasPrefix(got[1], "hooks.after"+says) {
		t.Errorf("%q", got)
	}
}

func TestACheckFindsWhatASwitchWouldNotFind(t *testing.T) {
	path, r := siteWith(t, "[process.web]\ncommand = \"gunikorn shop.wsgi\"\n[process.web.health]\nkind = \"exec\"\n"+
		"command = \"celry inspect ping\"\n[process.beat]\ncommand = \"bin/{process}\"\n[hooks]\nbefore = [\"sleep 0\", \"pyhton manage.py migrate\", \"bin/warm --all\"]\n")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	found := errors.Join(CheckPrograms(c, r, c.Processes[0]), CheckPrograms(c, r, c.Processes[1]), CheckHooks(c, r))
	var got []string
	for line := range strings.Lines(found.Error()) {
		line, _, _ = strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), r.Path, "R1"), " is not in PATH")
		got = append(got, line)
	}
	want := []string{
		`process.web cannot run in release r1: command "gunikorn"`, `process.web.health cannot run in release r1: command "celry"`,
		`hooks.before cannot run in release r1: command "pyhton"`,
		`hooks.before cannot run in release r1: execute R1/bin/warm: no such file or directory`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAHealthCommandAsRootNeedsToBeAllowed(t *testing.T) {
	for user, refused := range map[string]bool{"": os.Geteuid() == 0, "user = \"root\"\n": false} {
		if user != "" && os.Geteuid() != 0 {
			continue // only root can start workers as another user
		}
		path, _ := siteWith(t, user+"[process.web]\ncommand = \"sleep 9\"\n[process.web.health]\nkind = \"exec\"\ncommand = \"true\"\n")
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := MayRunChecks(c, c.Processes[0]); (err != nil) != refused {
			t.Errorf("%q: %v", user, err)
		}
	}
}

func TestReleasesThatHaveMovedAreFoundByName(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"releases/r1/venv", "old/r1/venv"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store, err := releases.Open(filepath.Join(dir, "releases"), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ live, want string }{
		"removed there":          {"gone/r1", "releases/r1"},
		"still there":            {"old/r1", "old/r1"},
		"removed in both places": {"gone/r2", ""},
	} {
		was := &supervisor.Release{Name: filepath.Base(c.live), Path: filepath.Join(dir, c.live)}
		for _, target := range []supervisor.Target{
			{Kind: "start", Live: was}, {Kind: api.Reload, Live: was}, {Kind: api.Restart, Live: was}, {Kind: api.Rollback, Previous: was},
		} {
			r, err := find(t.Context(), &config.Config{}, store, target)
			want := filepath.Join(dir, c.want)
			if c.want == "" && err == nil || c.want != "" && (err != nil || r.Path != want) {
				t.Errorf("%s: %s finds %s, %v", name, target.Kind, r.Path, err)
			}
		}
		if err := (onDisk{&config.Config{}, store}).noWayBack(*was); (err == nil) != (c.want != "") {
			t.Errorf("%s: no way back: %v", name, err)
		}
	}
}
