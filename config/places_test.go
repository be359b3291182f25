package config

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppsAreFoundByConfigAndByControlSocket(t *testing.T) {
	etc, run := t.TempDir(), t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", run)
	elsewhere := filepath.Join(run, "elsewhere")
	for path, text := range map[string]string{
		etc + "/shop.toml": "app = \"shop\"\n", etc + "/blog.toml": "app = \"blog\"\ncontrol = \"" + elsewhere + "\"\n",
		etc + "/broken.toml": "[", etc + "/shop.toml.orig": "", etc + "/.toml": "", run + "/file.sock": "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"shop", "mine"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, name+".sock")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	got, err := findPlaces(etc, controlDirectories(os.Getenv))
	if err != nil {
		t.Fatal(err)
	}
	want := []Place{
		{App: "blog", Config: etc + "/blog.toml", Control: elsewhere},
		{App: "broken", Config: etc + "/broken.toml", Control: run + "/broken.sock"},
		{App: "mine", Control: run + "/mine.sock"},
		{App: "shop", Config: etc + "/shop.toml", Control: run + "/shop.sock"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestADirectoryThatCannotBeReadIsSaid(t *testing.T) {
	etc, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	touch(t, file)
	touch(t, etc+"/shop.toml")
	got, err := findPlaces(etc, []string{file, etc + "/none"})
	if len(got) != 1 || got[0].App != "shop" {
		t.Errorf("found %+v", got)
	}
	if want := "find apps: open " + file + ": not a directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestControlSocketsAreLookedForWhereDaemonsPutThem(t *testing.T) {
	for _, tt := range []struct{ runtime, xdg string }{{"/run/a:/run/b", ""}, {"", "/run/user/7"}} {
		env := map[string]string{"RUNTIME_DIRECTORY": tt.runtime, "XDG_RUNTIME_DIR": tt.xdg}
		getenv := func(name string) string { return env[name] }
		list := controlDirectories(getenv)
		if list[0] != filepath.Dir(defaultControl("shop", getenv)) {
			t.Errorf("%v does not begin with the directory of %s", list, defaultControl("shop", getenv))
		}
		if alone := tt.runtime != ""; alone != (len(list) == 1 && list[0] == "/run/a") {
			t.Errorf("with %+v: %v", tt, list)
		}
	}
}
