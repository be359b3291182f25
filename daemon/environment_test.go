package daemon

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"superctl/config"
	"superctl/releases"
	"superctl/supervisor/worker"
)

func TestAProcessOverridesTheConfigAndThatTheRelease(t *testing.T) {
	r := releases.Release{
		Path: t.TempDir(),
		Metadata: releases.Metadata{Env: map[string]string{
			"ALL": "release", "FILE": "release", "CONFIG": "release", "RELEASE": "release", "LANG": "release",
		}},
	}
	c := &config.Config{Env: []config.Variable{
		{Name: "ALL", Value: "file", From: config.FromFile},
		{Name: "FILE", Value: "file", From: config.FromFile},
		{Name: "CONFIG", Value: "file", From: config.FromFile},
		{Name: "ALL", Value: "config", From: config.FromConfig},
		{Name: "CONFIG", Value: "config", From: config.FromConfig},
	}}
	env := environment(
		c, r, &config.User{Name: "shop", Home: "/srv/shop"}, "",
		[]config.Variable{{Name: "ALL", Value: "process", From: config.FromProcess}},
	)
	list, from := env.List(), env.origins()
	for name, origin := range map[string]string{
		"ALL": "process", "CONFIG": "config", "FILE": "env_file", "RELEASE": "release", "LANG": "release",
		"HOME": "superctl",
	} {
		value := map[string]string{"env_file": "file", "superctl": "/srv/shop"}[origin]
		if value == "" {
			value = origin
		}
		if !slices.Contains(list, name+"="+value) || from[name] != origin {
			t.Errorf("%s is from %s: %v", name, from[name], list)
		}
	}
	if len(list) != len(from) {
		t.Errorf("a variable is set twice: %v", list)
	}
}

func TestASecretComesFromAFileOfTheCredentials(t *testing.T) {
	c := &config.Config{Env: []config.Variable{
		{
			Name: "KEY", Credential: "key", From: config.FromCredential,
		}, {Name: "PLAIN", Value: "x", From: config.FromConfig},
	}}
	own := []config.Variable{{Name: "PLAIN", Credential: "other", From: config.FromCredential}}
	for dir, want := range map[string]worker.Secrets{
		"/run/copy": {"KEY": "/run/copy/key", "PLAIN": "/run/copy/other"}, "": nil,
	} {
		env := environment(c, releases.Release{Path: t.TempDir()}, nil, dir, own)
		if got := env.Secrets(); !maps.Equal(got, want) {
			t.Errorf("with %q: %v, want %v", dir, got, want)
		}
		for _, kv := range env.List() {
			if strings.HasPrefix(kv, "KEY=") || strings.HasPrefix(kv, "PLAIN=") {
				t.Errorf("with %q: %s is a plain variable", dir, kv)
			}
		}
	}
}

func TestOnlyNamedVariablesAreInheritedFromTheDaemon(t *testing.T) {
	for name, value := range map[string]string{
		"SECRET_KEY": "of the daemon", "AWS_REGION": "x", "AWSX": "x", "OTHER": "x", "LISTEN_FDS": "1",
		"NOTIFY_SOCKET": "/x", "SUPERCTL_X": "1", "OWN": "of the daemon",
	} {
		t.Setenv(name, value)
	}
	c := &config.Config{
		Inherit: []string{"SECRET_KEY", "AWS_*", "OWN", "L*", "N*", "S*", "TABLEFLIP_HAS_PARENT_7DIU3"},
		Env:     []config.Variable{{Name: "OWN", Value: "own", From: config.FromFile}},
	}
	t.Setenv("TABLEFLIP_HAS_PARENT_7DIU3", "yes")
	env := environment(c, releases.Release{Path: t.TempDir()}, nil, "", nil)
	list, from := env.List(), env.origins()
	for _, kv := range []string{"SECRET_KEY=of the daemon", "AWS_REGION=x", "OWN=own"} {
		if !slices.Contains(list, kv) {
			t.Errorf("%s is missing", kv)
		}
	}
	for _, name := range []string{
		"AWSX", "OTHER", "LISTEN_FDS", "NOTIFY_SOCKET", "SUPERCTL_X", "TABLEFLIP_HAS_PARENT_7DIU3",
	} {
		if from[name] != "" {
			t.Errorf("%s is inherited", name)
		}
	}
	if from["SECRET_KEY"] != "inherit" || from["OWN"] != "env_file" {
		t.Errorf("from %v", from)
	}
}

func TestAVariableOfOneGenerationIsNotSetForHooks(t *testing.T) {
	c := &config.Config{Env: []config.Variable{
		{Name: "VERSION", Value: "{release}@{commit}", From: config.FromConfig, Template: true},
		{Name: "METRICS", Value: "{scratch}/{release}", From: config.FromConfig, Template: true},
		{Name: "FILE", Value: "{release}", From: config.FromFile},
	}}
	env := environment(
		c, releases.Release{Name: "r1", Path: t.TempDir(), Metadata: releases.Metadata{Commit: "abc"}}, nil, "", nil,
	)
	list := env.List()
	for _, kv := range []string{"VERSION=r1@abc", "FILE={release}"} {
		if !slices.Contains(list, kv) {
			t.Errorf("%s is missing in %q", kv, list)
		}
	}
	if templates := env.templates(); !slices.Equal(templates, []string{"METRICS={scratch}/{release}"}) ||
		strings.Contains(strings.Join(list, " "), "METRICS") {
		t.Errorf("templates %q and plain variables %q", templates, list)
	}
}
