package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

func TestAChangeWarnsOfAScheduledCommandWithoutItsProgram(t *testing.T) {
	dir := t.TempDir()
	release := filepath.Join(dir, "releases", "r1")
	if err := os.MkdirAll(filepath.Join(release, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shop.toml")
	text := "app = \"shop\"\nreleases = \"" + filepath.Dir(release) + "\"\nstate = \"" + dir + "/state\"\ncontrol = \"" + dir + "/s\"\n" +
		"virtualenv = false\n[process.web]\ncommand = [\"/bin/sleep\", \"9\"]\n" +
		"[cron.good]\nschedule = \"daily\"\ncommand = \"sleep 1\"\n" +
		"[cron.clear]\nschedule = \"daily\"\ncommand = \"pyhton manage.py clearsessions\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &planner{path: path, secrets: &secretSource{}}
	plan, err := p.resolve(t.Context(), supervisor.Target{Kind: supervisor.Switch, Word: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Warnings; len(got) != 1 || !strings.HasPrefix(got[0], `cron.clear cannot run in release r1: command "pyhton" is not in PATH`) {
		t.Errorf("%q", got)
	}
}
