package version

import (
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

func TestTheVersionTellsAReleaseFromABuildOfAnotherCommit(t *testing.T) {
	release := strings.TrimSpace(number)
	commit := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs.revision", Value: "9f3c2abd0123456789"}, {Key: "vcs.modified", Value: modified},
		}
	}
	for _, c := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{nil, release},
		{&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, release},
		{&debug.BuildInfo{Main: debug.Module{Version: "v" + release}, Settings: commit("false")}, release},
		{
			&debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-20261129000000-9f3c2abd0123"}, Settings: commit("false")},
			release + "-pre+9f3c2abd0123",
		},
		{
			&debug.BuildInfo{Main: debug.Module{Version: "v" + release + "+dirty"}, Settings: commit("true")},
			release + "-pre+9f3c2abd0123.dirty",
		},
	} {
		if got := of(c.info); got != c.want {
			t.Errorf("%+v: %s, want %s", c.info, got, c.want)
		}
	}
}

func TestTheChangelogHasTheVersionAndItsDate(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(strings.TrimSpace(number)) + `, \d{4}-\d\d-\d\d$`)
	if !heading.Match(text) {
		t.Errorf("CHANGELOG.md has no heading %s", heading)
	}
}
