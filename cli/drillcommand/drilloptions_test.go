//go:build linux

package drillcommand

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/config"
)

func TestADrillUsesTheLiveAndThePreviousReleaseFirst(t *testing.T) {
	dir := t.TempDir()
	conf := &config.Config{
		App: "shop", Releases: filepath.Join(dir, "releases"), State: filepath.Join(dir, "state"),
		Control: filepath.Join(dir, "none.sock"),
	}
	for i, name := range []string{"r1", "r2", "r3", "r4", "empty"} {
		path := filepath.Join(conf.Releases, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if name != "empty" {
			if err := os.WriteFile(filepath.Join(path, "app.js"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	order := func() string {
		t.Helper()
		list, err := releasesToDrill(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
		}
		return strings.Join(names, " ")
	}
	if got := order(); got != "r4 r3 r2 r1" {
		t.Errorf("without a live release: %s", got)
	}
	if err := os.MkdirAll(conf.State, 0o700); err != nil {
		t.Fatal(err)
	}
	const state = `{"version": 1, "needs": 1, "app": "shop",
		"release": {"name": "r2", "path": "/r2"}, "previous": {"name": "r1", "path": "/r1"}}`
	if err := os.WriteFile(filepath.Join(conf.State, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := order(); got != "r2 r1 r4 r3" {
		t.Errorf("with r2 live and r1 previous: %s", got)
	}
}
