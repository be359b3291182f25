package checkcommand

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"superctl/api"
	"superctl/config"
)

func TestACheckSaysWhenTheConfigOfTheDaemonIsNotInForce(t *testing.T) {
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
	if text := notInForce(&config.Config{Path: path}, &changed); text != "run superctl reload" {
		t.Errorf("its own config: %q", text)
	}
	if text := notInForce(&config.Config{Path: next}, &changed); text != "" {
		t.Errorf("a config that is not in place yet: %q", text)
	}
	if text := notInForce(&config.Config{Path: path}, &api.Status{Config: path}); text != "" {
		t.Errorf("unchanged: %q", text)
	}
}

func TestEachOfSeveralErrorsIsAFailureOfItsOwn(t *testing.T) {
	f := &findings{out: io.Discard}
	f.report(errors.Join(errors.New("one"), errors.New("two")), "good")
	f.report(fmt.Errorf("three: %w", errors.Join(errors.New("a"), errors.New("b"))), "good")
	f.report(nil, "good")
	want := []finding{{"fail", "one"}, {"fail", "two"}, {"fail", "three: a\nb"}, {"ok", "good"}}
	if !slices.Equal(f.List, want) || f.Problems != 3 {
		t.Errorf("%d problems: %q", f.Problems, f.List)
	}
}

func TestADaemonHoldsAListenerOnlyOnceAReleaseIsLive(t *testing.T) {
	const at = "127.0.0.1:8000"
	for _, c := range []struct {
		st   api.Status
		want bool
	}{
		{api.Status{Listeners: []api.ListenerStatus{{Address: at, Gate: "steer"}}}, false},
		{api.Status{Listeners: []api.ListenerStatus{{Address: at, Gate: "steer", Generation: 3}}}, true},
		{api.Status{Listeners: []api.ListenerStatus{{Address: at, Gate: "shared"}}}, true},
		{api.Status{Listeners: []api.ListenerStatus{{Address: at, Gate: "steer"}}, Waiting: true}, true},
		{api.Status{Listeners: []api.ListenerStatus{{Address: ":80", Gate: "steer", Generation: 3}}}, false},
	} {
		if got := holds(&c.st, at); got != c.want {
			t.Errorf("%+v: %v", c.st, got)
		}
	}
}
