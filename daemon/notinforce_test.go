package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/config"
)

func TestStatusShowsConfigChangesThatAreNotInForce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.toml")
	write := func(more string) *config.Config {
		text := "app = \"shop\"\nreleases = \"" + dir + "\"\nstate = \"" + dir + "\"\n" + more +
			"\n[process.web]\ncommand = [\"sleep\", \"9\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := write("")
	d := &daemon{config: first}
	if text := d.notInForce(first.Sum); text != "" {
		t.Errorf("of an unchanged config: %q", text)
	}
	if err := os.WriteFile(path, []byte("app = \"shop\"\nbogus = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := d.notInForce(first.Sum); !strings.Contains(text, "not in force: it is invalid, and superctl check shows why") {
		t.Errorf("of an invalid config: %q", text)
	}
	probation := write(`probation = "1s"`)
	if text := d.notInForce(first.Sum); !strings.HasSuffix(text, "run superctl reload to apply it") {
		t.Errorf("of a changed config: %q", text)
	}
	if text := d.notInForce(probation.Sum); text != "" {
		t.Errorf("after a reload: %q", text)
	}
	moved := write("[listen.web]\naddress = \"127.0.0.1:8000\"\n")
	text := d.notInForce(first.Sum)
	if want := "listen.web needs a restart of the daemon: run systemctl restart superctl@shop to apply it"; !strings.HasSuffix(text, want) {
		t.Errorf("of another listener: %q", text)
	}
	if err := (&planner{running: first}).sameListeners(moved); err == nil ||
		!strings.HasSuffix(err.Error(), "run systemctl restart superctl@shop") {
		t.Errorf("a reload: %v", err)
	}
	log := write("current = \"/srv/current\"\nlog = \"/var/log/shop.log\"")
	text = needsRestart(first, log)
	const want = `changed keys need a restart of the daemon: current = "/srv/current" (now in force: ""), ` +
		`log = "/var/log/shop.log" (now in force: ""): ` +
		`run systemctl restart superctl@shop, which loses no request`
	if text != want {
		t.Errorf("of a key that needs a restart: %q", text)
	}
	d.restart.set(text)
	if got := d.notInForce(log.Sum); got != text {
		t.Errorf("after a reload of it: %q", got)
	}
}

func TestAChangeSaysThatAnotherDirectoryOfReleasesNeedsARestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.toml")
	write := func(releases string) *config.Config {
		text := "app = \"shop\"\nreleases = \"" + filepath.Join(dir, releases) + "\"\n[process.web]\ncommand = [\"sleep\", \"9\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	d := &daemon{config: write("old")}
	moved := write("new")
	if _, err := d.freeze(t.Context()); err == nil || !strings.Contains(err.Error(), "run systemctl restart superctl@shop") {
		t.Errorf("the old directory is gone: %v", err)
	}
	if text := needsRestart(d.config, moved); !strings.Contains(text, "/new") {
		t.Errorf("of another directory: %q", text)
	}
}
