package checkcommand

import (
	"os"
	"path/filepath"
	"testing"

	"superctl/api"
	"superctl/config"
)

func TestACheckFailsWhenTheConfigOfTheDaemonIsNotInForce(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "shop.toml"), filepath.Join(dir, "next.toml")
	for _, p := range []string{path, next} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	changed := api.Status{Config: path, ConfigChanged: true, Troubles: []api.Trouble{
		{Of: "state", Why: "the disk is full"}, {Of: "config", Why: "run superctl reload"},
	}}
	if err := notInForce(&config.Config{Path: path}, &changed); err == nil || err.Error() != "run superctl reload" {
		t.Errorf("its own config: %v", err)
	}
	if err := notInForce(&config.Config{Path: next}, &changed); err != nil {
		t.Errorf("a config that is not in place yet: %v", err)
	}
	if err := notInForce(&config.Config{Path: path}, &api.Status{Config: path}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}
