package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"superctl/config"
)

// TestTheLastConfigThatWasReadIsKept is about what a daemon that finds an invalid config starts with, and
// what status says of it until a change has read a valid one.
func TestTheLastConfigThatWasReadIsKept(t *testing.T) {
	dir := t.TempDir()
	path, state := filepath.Join(dir, "shop.toml"), filepath.Join(dir, "state")
	write := func(more string) {
		text := "app = \"shop\"\nreleases = \"" + dir + "\"\nstate = \"" + state + "\"\n" + more + "[process.web]\ncommand = [\"sleep\", \"9\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() *config.Config {
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write("standby = \"1m\"\n")
	d := &daemon{config: load(), log: zap.NewNop()}
	d.team = newTeam(d.config, d.log)
	d.checkConfig(path, nil)
	if text := d.complaint.text(); !strings.HasPrefix(text, "save a copy of the config: ") || !strings.HasSuffix(text, "; superctl reload tries again") {
		t.Errorf("without a state directory: %q", text)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	write("standby = \"2m\"\n")
	d.readConfig(load())
	if text := d.complaint.text(); text != "" {
		t.Errorf("after a reload that could keep it: %q", text)
	}
	write("standby = 2\n")
	c, broken := loadOrKept(path)
	if invalid := new(ConfigError); !errors.As(broken, &invalid) || c == nil || c.Standby.Minutes() != 2 {
		t.Fatalf("%+v, %v", c, broken)
	}
	d.checkConfig(path, broken)
	if text := d.complaint.text(); !strings.HasPrefix(text, "invalid config, so the last valid one is used: ") {
		t.Errorf("of an invalid config: %q", text)
	}
	write("standby = \"3m\"\n")
	d.readConfig(load())
	if text := d.complaint.text(); text != "" {
		t.Errorf("after a reload of a valid one: %q", text)
	}
}
