package cli

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"superctl/cli/config"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

func TestTheReleaseHasTheLeastToSayOfAVariableAndTheProcessTheMost(t *testing.T) {
	r := releases.Release{Path: t.TempDir(), Metadata: releases.Metadata{Env: map[string]string{"ALL": "release", "FILE": "release", "CONFIG": "release", "RELEASE": "release", "LANG": "release"}}}
	c := &config.Config{Env: []config.Variable{
		{Name: "ALL", Value: "file", From: config.FromFile},
		{Name: "FILE", Value: "file", From: config.FromFile},
		{Name: "CONFIG", Value: "file", From: config.FromFile},
		{Name: "ALL", Value: "config", From: config.FromConfig},
		{Name: "CONFIG", Value: "config", From: config.FromConfig},
	}}
	env := environment(c, r, &config.User{Name: "shop", Home: "/srv/shop"}, "", []config.Variable{{Name: "ALL", Value: "process", From: config.FromProcess}})
	list, from := env.list(), env.origins()
	for name, origin := range map[string]string{"ALL": "process", "CONFIG": "config", "FILE": "env_file", "RELEASE": "release", "LANG": "release", "HOME": "superctl"} {
		value := map[string]string{"env_file": "file", "superctl": "/srv/shop"}[origin]
		if value == "" {
			value = origin
		}
		if !slices.Contains(list, name+"="+value) || from[name] != origin {
			t.Errorf("%s is from %s: %v", name, from[name], list)
		}
	}
	if len(list) != len(from) {
		t.Errorf("a variable is there twice: %v", list)
	}
}

func TestStatusShowsNamesAndOrigins(t *testing.T) {
	var out bytes.Buffer
	writeEnvironment(&out, &supervisor.EnvironmentStatus{App: "shop", Release: "r1", Generation: 3, Processes: []supervisor.ProcessEnvironment{
		{Process: "web", Variables: []supervisor.Variable{{Name: "DJANGO_SETTINGS_MODULE", From: "config"}, {Name: "LANG", From: "superctl"}}},
	}}, false)
	const want = `shop: r1, generation 3

  WEB                     FROM
  DJANGO_SETTINGS_MODULE  config
  LANG                    superctl
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	writeEnvironment(&out, &supervisor.EnvironmentStatus{App: "shop"}, false)
	if out.String() != "shop: no release is live\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestASecretIsInAFileOfTheCredentialsOrThereIsNone(t *testing.T) {
	c := &config.Config{Env: []config.Variable{
		{Name: "KEY", Credential: "key", From: config.FromCredential}, {Name: "PLAIN", Value: "x", From: config.FromConfig},
	}}
	own := []config.Variable{{Name: "PLAIN", Credential: "other", From: config.FromCredential}}
	for dir, want := range map[string]worker.Secrets{"/run/copy": {"KEY": "/run/copy/key", "PLAIN": "/run/copy/other"}, "": nil} {
		env := environment(c, releases.Release{Path: t.TempDir()}, nil, dir, own)
		if got := env.secrets(); !maps.Equal(got, want) {
			t.Errorf("with %q: %v, want %v", dir, got, want)
		}
		for _, kv := range env.list() {
			if strings.HasPrefix(kv, "KEY=") || strings.HasPrefix(kv, "PLAIN=") {
				t.Errorf("with %q: %s is a plain variable", dir, kv)
			}
		}
	}
}
