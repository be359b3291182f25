package inventory

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAFleetHasItsDefaults(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, File), "app = \"shop\"\n[fleet.production]\nhosts = [\"web1\", \"web2\"]\n")
	f, err := Load(t.Context(), "production", Options{Dir: dir})
	want := &Fleet{
		Name: "production", App: "shop", File: filepath.Join(dir, File), Hosts: []Host{{Name: "web1"}, {Name: "web2"}},
		Canary: "web1",
	}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("%v: %+v", err, f)
	}
}

func TestAFleetIsFoundAboveTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "shop", "templates")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "superctl.toml"), "app = \"shop\"\n[fleet.staging]\nhosts = [\"web9\"]\ncanary = \"web9\"\n"+
		"batch = 2\nbake = \"5m\"\nuser = \"deploy\"\nsudo = false\n[process.web]\ncommand = \"gunicorn\"\n")
	write(t, filepath.Join(below, "superctl.toml"), "app = \"other\"\n") // without fleets: the search goes on
	f, err := Load(t.Context(), "staging", Options{Dir: below})
	if err != nil || f.App != "shop" || f.Batch != 2 || f.Bake != 5*time.Minute || *f.Sudo || f.Hosts[0].User != "deploy" {
		t.Errorf("%v: %+v", err, f)
	}
}

func TestErrorsNameThePlaceAndWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"[fleet.production]\nhosts = [\"web1\"]\n":                                       `1:8: the name of the app is missing: write app = "shop"`,
		"app = \"shop\"\n[fleet.production]\nbatch = 1\n":                                `2:8: there is no host: write hosts = ["web1", "web2"], or`,
		"app = \"shop\"\n[fleet.production]\nhost = [\"web1\"]\n":                        `3:1: unknown key "host"; did you mean "hosts"?`,
		"app = \"shop\"\n[fleet.production]\nhosts = \"web1\"\n":                         `3:9: fleet.production.hosts: a list of hosts is expected`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"-oProxyCommand=x\"]\n":           `3:1: invalid host "-oProxyCommand=x": use a name`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"a\", \"a\"]\n":                   `3:1: host "a" is there twice`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"a\"]\ncanary = \"b\"\n":          `4:1: host "b" is not in the fleet: use one of a`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"a\"]\nbake = \"3 min\"\n":        `4:1: invalid duration "3 min": use 30s, 5m or 1h`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"a\"]\nbatch = 0\n":               `4:1: invalid batch 0`,
		"app = \"shop\"\n[fleet.production]\nhosts = [\"a\"]\nlabels = { eu = [\"b\"] }": `4:1: label eu: host "b" is not in the fleet`,
		"app = \"shop\"\n[fleet.staging]\nhosts = [\"a\"]\n":                             ` there is no fleet "production" (there is staging): write [fleet.production]`,
		"app = \"shop\"\n[fleet.production\n":                                            `2:`,
		"app = \"a;b\"\n[fleet.production]\nhosts = [\"a\"]\n":                           `invalid app "a;b"`,
	} {
		path := filepath.Join(t.TempDir(), File)
		write(t, path, text)
		_, err := Load(t.Context(), "production", Options{Path: path})
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestASearchThatFindsNothingShowsAFile(t *testing.T) {
	_, err := Load(t.Context(), "production", Options{Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "[fleet.production]\n    app   = \"shop\"\n    hosts = [") {
		t.Error(err)
	}
}

// listOfAnsible is what ansible-inventory of ansible-core 2.19 prints, shortened.
const listOfAnsible = `{"_meta": {"hostvars": {
	"web1": {"ansible_host": "10.77.0.11", "ansible_user": "deploy", "ansible_port": 2222, "secret": "x"},
	"web2": {"ansible_port": "22"}, "db1": {}}},
"all": {"children": ["ungrouped", "production", "db"]}, "db": {"hosts": ["db1"]},
"production": {"children": ["eu", "us"]}, "eu": {"hosts": ["web1"]}, "us": {"hosts": ["web2", "web1"]}}`

func TestAnAnsibleInventoryHasTheHosts(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hosts.yml"), "---\n")
	write(t, filepath.Join(dir, File), "app = \"shop\"\n[fleet.production]\ninventory = \"hosts.yml\"\nuser = \"anna\"\n"+
		"[fleet.everything]\ninventory = \"hosts.yml\"\n")
	o := Options{Dir: dir, Ansible: func(_ context.Context, args ...string) ([]byte, error) {
		if !slices.Equal(args, []string{"-i", filepath.Join(dir, "hosts.yml"), "--list"}) {
			t.Errorf("ansible-inventory %q", args)
		}
		return []byte(listOfAnsible), nil
	}}
	f, err := Load(t.Context(), "production", o)
	want := []Host{{"web1", "10.77.0.11", "deploy", "2222"}, {"web2", "", "anna", "22"}}
	if err != nil || !slices.Equal(f.Hosts, want) {
		t.Errorf("%v: %+v", err, f)
	}
	if f, err := Load(t.Context(), "everything", o); err != nil || len(f.Hosts) != 3 {
		t.Errorf("%v: %+v", err, f)
	}
	o.Ansible = func(context.Context, ...string) ([]byte, error) {
		return []byte(strings.Replace(listOfAnsible, `"deploy"`, `"{{ who }}"`, 1)), nil
	}
	_, err = Load(t.Context(), "production", o)
	if err == nil || !strings.Contains(err.Error(), "web1: {{ who }} is a template, which ansible-inventory does not resolve") {
		t.Error(err)
	}
	o.Ansible = func(context.Context, ...string) ([]byte, error) { return nil, exec.ErrNotFound }
	_, err = Load(t.Context(), "production", o)
	if err == nil || !strings.Contains(err.Error(), File+":3:1: an Ansible inventory is read by ansible-inventory") {
		t.Error(err)
	}
}

func TestHostsAreSelectedByNameAndLabel(t *testing.T) {
	f := &Fleet{
		Name: "production", Hosts: []Host{{Name: "web1"}, {Name: "web2"}, {Name: "web3"}},
		Labels: map[string][]string{"eu": {"web3", "web1"}},
	}
	if hosts, err := f.Select([]string{"eu", "web1"}); err != nil || !slices.Equal(hosts, []string{"web1", "web3"}) {
		t.Error(hosts, err)
	}
	if _, err := f.Select([]string{"web4"}); err == nil || !strings.Contains(err.Error(), `no host "web4"; it has web1, web2, web3`) {
		t.Error(err)
	}
}
