// Package inventory reads which hosts a fleet has, and how its runs go: the table [fleet.NAME] of
// superctl.fleet.toml or of an app's config, with the hosts in it or in an Ansible inventory.
//
// It knows nothing of what runs on the hosts, and connects to none.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// File is the name of a file that holds fleets only. It is searched for in the working directory
// and its parents.
const File = "superctl.fleet.toml"

// appFile is an app's config in a working directory, which may have fleets too.
const appFile = "superctl.toml"

// Table is [fleet.NAME] as written.
type Table struct {
	App       string              `toml:"app"`       // default: the app of the file
	Hosts     []string            `toml:"hosts"`     // as ssh knows them
	Inventory string              `toml:"inventory"` // instead: an Ansible inventory, relative to the file
	Canary    string              `toml:"canary"`    // default: the first host
	Batch     *int64              `toml:"batch"`     // default: all that follow the canary host
	Bake      string              `toml:"bake"`
	User      string              `toml:"user"`
	Sudo      *bool               `toml:"sudo"`
	Labels    map[string][]string `toml:"labels"`
}

// Fleet is the hosts of an environment that run one app.
type Fleet struct {
	Name string
	App  string
	File string // where it is defined
	// Hosts are in the order of the file.
	Hosts []Host
	// Canary is the name of the host that cuts over first, and that runs the hooks with once = true.
	Canary string
	// Batch is how many hosts cut over at once after the canary host; 0 = all.
	Batch int
	// Bake is how long the canary host is watched, after its probation, before the next host cuts
	// over.
	Bake time.Duration
	// Sudo reports whether superctl runs through sudo; nil = unless the ssh user is root.
	Sudo   *bool
	Labels map[string][]string
}

// Host is a host as ssh reaches it.
type Host struct {
	Name    string
	Address string // from an Ansible inventory; "" = Name, as ~/.ssh/config knows it
	User    string // "" = ssh's choice
	Port    string // "" = ssh's choice
}

// Error is an error in the definition of a fleet.
type Error struct {
	File         string
	Line, Column int // 0 = the whole file
	Msg          string
}

// Error returns FILE:LINE:COLUMN: what is wrong and what to write.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Options say where a fleet is searched for.
type Options struct {
	// Path is a file that holds it; "" = the files in Dir and its parents.
	Path string
	Dir  string // "" = the working directory
	// Ansible runs ansible-inventory with args and returns its output.
	Ansible func(ctx context.Context, args ...string) ([]byte, error)
}

// Load returns the fleet with a name.
func Load(ctx context.Context, name string, o Options) (*Fleet, error) {
	if name == "" {
		return nil, errors.New("missing environment after @: superctl @ENV COMMAND, such as superctl @production status")
	}
	path, err := o.find(name)
	if err != nil {
		return nil, err
	}
	d, err := read(path)
	if err != nil {
		return nil, err
	}
	t, ok := d.Fleet[name]
	if !ok {
		return nil, &Error{File: path, Msg: fmt.Sprintf(
			"there is no fleet %q%s: write [fleet.%s], and below it hosts = [\"web1\", \"web2\"]", name, known(d.Fleet), name,
		)}
	}
	f := &Fleet{Name: name, App: cmp.Or(t.App, d.App), File: path, Sudo: t.Sudo, Labels: t.Labels}
	if t.Inventory != "" && len(t.Hosts) == 0 {
		f.Hosts, err = o.ansible(ctx, filepath.Join(filepath.Dir(path), t.Inventory), name, d.at(name, "inventory"))
		if err != nil {
			return nil, err
		}
	}
	for _, h := range t.Hosts {
		f.Hosts = append(f.Hosts, Host{Name: h})
	}
	for i := range f.Hosts {
		f.Hosts[i].User = cmp.Or(f.Hosts[i].User, t.User)
	}
	return f, f.complete(d, &t)
}

// Fleets returns the names of the fleets in the file that Load reads.
func Fleets(o Options) ([]string, error) {
	path, err := o.find("")
	if err != nil {
		return nil, err
	}
	d, err := read(path)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.Fleet)), nil
}

// find returns the file that holds the fleets.
func (o *Options) find(name string) (string, error) {
	if o.Path != "" {
		return o.Path, nil
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		for _, file := range []string{File, appFile} {
			path := filepath.Join(at, file)
			if _, err := os.Stat(path); err == nil && (file == File || hasFleets(path)) {
				return path, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("there is no fleet %q: no %s in %s or above it. One to begin with:\n\n"+
				"    [fleet.%s]\n    app   = \"shop\"\n    hosts = [\"web1\", \"web2\"]   # as ssh knows them", name, File, dir, name)
		}
	}
}

func hasFleets(path string) bool {
	d, err := read(path)
	return err != nil || len(d.Fleet) > 0
}

// hostPattern keeps a host's name from being an option of ssh.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:@%-]*$`)

var appPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// complete checks a fleet and sets its defaults.
func (f *Fleet) complete(d *document, t *Table) error {
	refuse := func(key, format string, args ...any) error { return d.at(f.Name, key)(format, args...) }
	switch {
	case f.App == "":
		return refuse("", "the name of the app is missing: write app = \"shop\"")
	case !appPattern.MatchString(f.App):
		return refuse("app", "invalid app %q: use small letters, digits, _ and -", f.App)
	case len(t.Hosts) > 0 && t.Inventory != "":
		return refuse("inventory", "hosts and inventory exclude each other: remove one of them")
	case len(f.Hosts) == 0:
		return refuse("hosts", "there is no host: write hosts = [\"web1\", \"web2\"], or inventory = \"FILE\" for an Ansible inventory")
	}
	seen := make(map[string]bool)
	for _, h := range f.Hosts {
		if !hostPattern.MatchString(h.Name) || h.Address != "" && !hostPattern.MatchString(h.Address) {
			return refuse("hosts", "invalid host %q: use a name of ~/.ssh/config, a host name or an address", h.Name)
		}
		if seen[h.Name] {
			return refuse("hosts", "host %q is there twice: remove one of them", h.Name)
		}
		seen[h.Name] = true
	}
	return f.completeRun(t, seen, refuse)
}

// completeRun checks and sets how runs go.
func (f *Fleet) completeRun(t *Table, known map[string]bool, refuse func(key, format string, args ...any) error) error {
	if f.Canary = cmp.Or(t.Canary, f.Hosts[0].Name); !known[f.Canary] {
		return refuse("canary", "host %q is not in the fleet: use one of %s", f.Canary, strings.Join(f.Names(), ", "))
	}
	for _, label := range slices.Sorted(maps.Keys(t.Labels)) {
		for _, h := range t.Labels[label] {
			if !known[h] {
				return refuse("labels", "label %s: host %q is not in the fleet: use names of hosts", label, h)
			}
		}
	}
	if t.Batch != nil {
		if *t.Batch < 1 || *t.Batch > 10_000 {
			return refuse("batch", "invalid batch %d: use a number of hosts from 1", *t.Batch)
		}
		f.Batch = int(*t.Batch)
	}
	if t.Bake == "" {
		return nil
	}
	var err error
	if f.Bake, err = time.ParseDuration(t.Bake); err != nil || f.Bake < 0 || f.Bake > 24*time.Hour {
		return refuse("bake", "invalid duration %q: use 30s, 5m or 1h, at most 24h", t.Bake)
	}
	return nil
}

// Names returns the names of the hosts.
func (f *Fleet) Names() []string {
	names := make([]string, 0, len(f.Hosts))
	for _, h := range f.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// Select returns the hosts that words name, each a host or a label, in the order of the fleet.
func (f *Fleet) Select(words []string) ([]string, error) {
	wanted := make(map[string]bool)
	for _, w := range words {
		switch hosts, isLabel := f.Labels[w]; {
		case slices.Contains(f.Names(), w):
			wanted[w] = true
		case isLabel:
			for _, h := range hosts {
				wanted[h] = true
			}
		default:
			return nil, fmt.Errorf("fleet %s has no host %q; it has %s", f.Name, w, strings.Join(f.Names(), ", "))
		}
	}
	return slices.DeleteFunc(f.Names(), func(h string) bool { return !wanted[h] }), nil
}

func known(fleets map[string]Table) string {
	if len(fleets) == 0 {
		return ""
	}
	return " (there is " + strings.Join(slices.Sorted(maps.Keys(fleets)), ", ") + ")"
}

// readFile reads a file that may not exist.
func readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{File: path, Msg: "there is no such file"}
	}
	return data, err
}
