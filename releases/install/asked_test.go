package install

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/releases/bundle"
)

func TestABundleMustBeTheOneThatWasAskedFor(t *testing.T) {
	for word, right := range map[string]bool{
		"shop-1.0.tar.zst":                         true,
		"/srv/shop-1.0.tar.zst":                    true,
		"https://x/a/shop-1.0.tar.zst?token=9.9-2": true,
		"shop-latest.tar.zst":                      true,
		"https://x/download":                       true,
		"b.tar.zst":                                true,
		"shop-1.1.tar.zst":                         false,
		"shop-v1.1.tar.zst":                        false,
		"https://x/shop-1%2E1.tar.zst":             false,
		"file:///srv/shop-9.tar.zst":               false,
		"s3://x/bar-1.0.tar.zst":                   false,
		"shop-1.0-2.tar.zst":                       false,
	} {
		in := install{Options: &Options{Name: "shop"}}
		in.Manifest = &bundle.Manifest{Name: "shop", Version: "1.0"}
		if err := in.asked(word); (err == nil) != right {
			t.Errorf("%s: %v", word, err)
		}
	}
	in := install{Options: &Options{Name: "blog"}}
	in.Manifest = &bundle.Manifest{Name: "shop", Version: "1.0"}
	if err := in.asked("b.tar.zst"); err == nil || !strings.Contains(err.Error(), `write name = "shop" in [install]`) {
		t.Error(err)
	}
}

func TestAnOlderSignedBundleMustBeAskedFor(t *testing.T) {
	dir := t.TempDir()
	public, private, err := bundle.GenerateKey("")
	must(t, err)
	key, err := bundle.ParseKey(public)
	must(t, err)
	secret, err := bundle.PrivateKey(private, nil)
	must(t, err)
	o := options(t)
	o.Keys = []bundle.Key{key}
	made := make(map[string]string)
	for version, at := range map[string]int64{"1": 1_700_000_000, "2": 1_700_000_100, "2-again": 1_700_000_100} {
		made[version] = filepath.Join(dir, "shop-"+version+".tar.zst")
		change := func(m *bundle.Manifest) { m.Version, m.Built = version, time.Unix(at, 0) }
		project{"project/app.py": ""}.write(t, made[version], change)
		sign(t, made[version], secret)
	}
	for _, step := range []struct {
		version string
		older   bool
		says    string
	}{
		{"2", false, ""},
		{"1", false, "it is from 2023-11-14 22:13 UTC, and the installed 2 is from 2023-11-14 22:15 UTC: " +
			"use --older to install an older one"},
		{"2-again", false, ""},
		{"1", true, ""},
		{"1", false, ""}, // already installed
	} {
		o.Older = step.older
		_, err := Install(t.Context(), made[step.version], o)
		if (err == nil) != (step.says == "") || err != nil && err.Error() != step.says {
			t.Errorf("%s: %v", step.version, err)
		}
	}
	remove(t, o.Store.Dir, "1")
	o.Keys, o.Older = nil, false
	if _, err := Install(t.Context(), made["1"], o); err != nil {
		t.Errorf("without keys: %v", err)
	}
}
