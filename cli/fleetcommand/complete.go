package fleetcommand

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"superctl/fleet/inventory"
)

// errSlow is why completion asks no other program.
var errSlow = errors.New("completion does not wait for ansible-inventory")

// completionOptions returns the options with which completion reads fleets.
func completionOptions(file string) inventory.Options {
	return inventory.Options{Path: file, Ansible: func(context.Context, ...string) ([]byte, error) { return nil, errSlow }}
}

// Words returns the candidates for a word that begins with @: the environments, and after a colon
// or a comma the hosts and labels. File is the value of --config, or "".
func Words(word, file string) (list []string) {
	name, hosts, some := strings.Cut(strings.TrimPrefix(word, "@"), ":")
	if !some {
		names, _ := inventory.Fleets(completionOptions(file)) // completion shows no errors
		for _, n := range names {
			list = append(list, "@"+n)
		}
		return list
	}
	given := strings.Split(hosts, ",")
	given = given[:len(given)-1] // the last is unfinished
	before := word[:strings.LastIndexAny(word, ":,")+1]
	for _, one := range selectable(name, file) {
		if !slices.Contains(given, one) {
			list = append(list, before+one)
		}
	}
	return list
}

// Hosts returns the hosts and labels that an option such as --without can name.
func (t Target) Hosts(file string) []string { return selectable(t.name, file) }

func selectable(name, file string) []string {
	f, err := inventory.Load(context.Background(), name, completionOptions(file))
	if err != nil {
		return nil
	}
	return append(f.Names(), slices.Sorted(maps.Keys(f.Labels))...)
}
