package site

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"superctl/e2e/harness"
	"superctl/proc"
)

// environ returns the environment of the first worker of the live release from /proc.
func environ(t *testing.T, a *harness.App) map[string]string {
	t.Helper()
	env, err := proc.Environ(a.Live(a.Status()).Workers[0].PID)
	if err != nil {
		t.Fatal(err)
	}
	return maps.Collect(env.All())
}

func TestStatusShowsTheSourceThatSetEachVariable(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Options.Top = fmt.Sprintf("env_file = %q\n", a.Path("env"))
	a.Options.Env = "IN_CONFIG = \"config\"\nIN_PROCESS = \"config\"\n"
	a.Options.More = "[process.web.env]\nIN_PROCESS = \"process\"\n"
	a.WriteFile("env", "IN_FILE=file\nIN_CONFIG=file\nIN_PROCESS=file\n")
	a.WriteConfig()
	a.Releases("r1", "r2")
	a.WriteFile(
		"releases/r1/release.toml",
		"[env]\nIN_RELEASE = \"release\"\nIN_FILE = \"release\"\nIN_CONFIG = \"release\"\nIN_PROCESS = \"release\"\n",
	)
	a.WriteFile("releases/r2/release.toml", "[env]\nPATH = \"/opt/bin\"\n")
	a.Start("r1")
	wanted := map[string]string{
		"IN_RELEASE": "release", "IN_FILE": "file", "IN_CONFIG": "config", "IN_PROCESS": "process",
	}
	env := environ(t, a)
	for name, value := range wanted {
		if env[name] != value {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
	var told struct {
		Release   string
		Processes []struct {
			Process   string
			Variables []struct{ Name, From string }
		}
	}
	text := a.Command("status", "--env", "--json").Want(0).Stdout()
	if err := json.Unmarshal([]byte(text), &told); err != nil || told.Release != "r1" || len(told.Processes) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	named := make(map[string]string)
	for _, v := range told.Processes[0].Variables {
		named[v.Name] = v.From
	}
	for name := range env {
		if name != "" && named[name] == "" {
			t.Errorf("status --env does not have %s, which the worker has", name)
		}
	}
	wanted["IN_FILE"] = "env_file"
	for name, from := range wanted {
		if named[name] != from {
			t.Errorf("%s is from %q, want %q", name, named[name], from)
		}
	}

	a.Command("switch", "r2").Want(1).Says("env.PATH: superctl sets it from the release's virtualenv")
	a.WriteFile("env", "IN_FILE=other\n")
	a.Command("reload").Want(0)
	if env := environ(t, a); env["IN_FILE"] != "other" {
		t.Errorf("after a reload IN_FILE is %q", env["IN_FILE"])
	}
	a.WriteFile("env", "IN_FILE\n")
	a.Command("reload").Want(0).Says(a.Path("env") + ":1:1: ignored: there is no = in the line")
}
