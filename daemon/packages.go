package daemon

import (
	"maps"
	"slices"

	"superctl/api"
	"superctl/config"
	"superctl/releases"
	"superctl/supervisor"
)

// packagesOf returns comparePackages, or nil for an app without virtualenvs.
func packagesOf(c *config.Config) func(from, to supervisor.Release) (*api.PackageChanges, error) {
	if !c.Virtualenv {
		return nil
	}
	return comparePackages
}

// comparePackages implements the supervisor's Packages.
func comparePackages(from, to supervisor.Release) (*api.PackageChanges, error) {
	was, err := releases.Release{Name: from.Name, Path: from.Path}.Packages()
	if err != nil {
		return nil, err
	}
	is, err := releases.Release{Name: to.Name, Path: to.Path}.Packages()
	if err != nil {
		return nil, err
	}
	return DifferentPackages(was, is), nil
}

// DifferentPackages returns how versions of packages differ, by normalized name, or nil if they do not.
func DifferentPackages(was, is map[string]string) *api.PackageChanges {
	names := slices.AppendSeq(slices.Collect(maps.Keys(was)), maps.Keys(is))
	slices.Sort(names)
	changes := new(api.PackageChanges)
	for _, name := range slices.Compact(names) {
		one := api.PackageChange{Name: name, From: was[name], To: is[name]}
		switch {
		case one.From == one.To:
		case one.From == "":
			changes.Added = append(changes.Added, one)
		case one.To == "":
			changes.Removed = append(changes.Removed, one)
		default:
			changes.Changed = append(changes.Changed, one)
		}
	}
	if len(changes.Added)+len(changes.Removed)+len(changes.Changed) == 0 {
		return nil
	}
	return changes
}
