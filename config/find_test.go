package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheConfigIsFoundInTheDocumentedOrder(t *testing.T) {
	one, two, none := t.TempDir(), t.TempDir(), t.TempDir()
	for _, path := range []string{one + "/shop.toml", two + "/blog.toml", two + "/shop.toml"} {
		touch(t, path)
	}
	here := t.TempDir()
	touch(t, filepath.Join(here, "superctl.toml"))
	project, both := t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{project: "[build]\noutput = [\"static\"]\n", both: "app = \"shop\"\n[build]\n"} {
		if err := os.WriteFile(filepath.Join(dir, "superctl.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, dir, file, app, etc string
		env                       map[string]string
		want, err                 string
	}{
		{
			name: "--config", dir: here, etc: two, file: "x.toml", app: "blog",
			env: map[string]string{"SUPERCTL_CONFIG": "y.toml"}, want: "x.toml",
		},
		{
			name: "--app", dir: here, etc: two, app: "blog", env: map[string]string{"SUPERCTL_CONFIG": "y.toml"},
			want: two + "/blog.toml",
		},
		{
			name: "SUPERCTL_CONFIG", dir: here, etc: two,
			env: map[string]string{"SUPERCTL_CONFIG": "y.toml", "SUPERCTL_APP": "blog"}, want: "y.toml",
		},
		{
			name: "SUPERCTL_APP", dir: here, etc: two, env: map[string]string{"SUPERCTL_APP": "blog"},
			want: two + "/blog.toml",
		},
		{name: "./superctl.toml", dir: here, etc: two, want: "superctl.toml"},
		{name: "an app's with [build]", dir: both, etc: one, want: "superctl.toml"},
		{name: "a project's is not an app's", dir: project, etc: one, want: one + "/shop.toml"},
		{name: "a project's alone", dir: project, etc: none, err: onlyBuild},
		{name: "the only one", dir: none, etc: one, want: one + "/shop.toml"},
		{name: "one of two", dir: none, etc: two, err: "several apps in " + two + ": blog, shop; choose one with --app NAME"},
		{name: "none", dir: none, etc: none, err: noConfig},
		{name: "no directory", dir: none, etc: none + "/etc", err: noConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(tt.dir)
			got, err := find(tt.file, tt.app, func(name string) string { return tt.env[name] }, tt.etc)
			if got != tt.want || (err == nil) != (tt.err == "") || (err != nil && err.Error() != tt.err) {
				t.Errorf("found %q, %v; not %q, %s", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestAConfigInEtcIsNamedAfterItsApp(t *testing.T) {
	run := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", run)
	t.Setenv("STATE_DIRECTORY", run+"/none")
	etc, elsewhere := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		etc + "/shop.toml": "app = \"shop\"\n", etc + "/blog.toml": "app = \"shop\"\n",
		etc + "/broken.toml": "app = \"broken\"\n[", elsewhere + "/superctl.toml": "app = \"shop\"\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(t, run+"/gone.sock")
	for path, want := range map[string]string{
		etc + "/shop.toml":           "",
		etc + "/broken.toml":         "", // its daemon can be reached
		etc + "/gone.toml":           "", // likewise
		elsewhere + "/superctl.toml": "",
		etc + "/blog.toml": etc +
			"/blog.toml: blog.toml says app = \"shop\": write app = \"blog\", or rename the file to shop.toml",
		elsewhere + "/gone.toml": "", // likewise
		elsewhere + "/shp.toml":  elsewhere + "/shp.toml: there is no such config file",
		etc + "/shp.toml":        "there is no app \"shp\"; blog, broken, shop exist",
	} {
		err := checkName(path, etc)
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestAConfigOfAnotherAppIsRefusedWithItsPlace(t *testing.T) {
	_, err := parse("blog.toml", etc+"/blog.toml", []byte("# the shop's\n"+minimal), 0)
	want := `blog.toml:2:1: blog.toml says app = "shop": write app = "blog", or rename the file to shop.toml`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestTheRunningDaemonIsFoundWithABrokenConfig(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "/run/test:/run/other")
	dir := t.TempDir()
	for _, tt := range []struct{ name, text, want string }{
		{"whole", "app = \"blog\"\ncontrol = \"/run/blog/c.sock\"\n", "/run/blog/c.sock"},
		{"without control", "app = \"blog\"\n", "/run/test/blog.sock"},
		{"with an unknown key", "app = \"blog\"\nzzz = 1\n", "/run/test/blog.sock"},
		{"broken in a table", "app = \"blog\"\ncontrol = \"/run/blog/c.sock\"\n[process.web]\nx = \"", "/run/blog/c.sock"},
		{"broken before", "app = \"blog\"\nx = \"\n[process.web]\n", "/run/test/shop.sock"},
		{"of a wrong type", "app = 3\n", "/run/test/shop.sock"},
		{"empty", "", "/run/test/shop.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, "shop.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := Control(path); got != tt.want {
				t.Errorf("it is looked for at %s, not %s", got, tt.want)
			}
		})
	}
	if got := Control(dir + "/gone.toml"); got != "/run/test/gone.sock" {
		t.Errorf("without a config it is looked for at %s", got)
	}
}

func TestSystemdsDirectoriesPrecedeTheDefaults(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a:/run/b"}[name]
	}
	if got := defaultState("shop", env); got != "/var/lib/a" {
		t.Errorf("state is %s", got)
	}
	if got := defaultControl("shop", env); got != "/run/a/shop.sock" {
		t.Errorf("control is %s", got)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
