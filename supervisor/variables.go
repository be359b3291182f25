package supervisor

import (
	"maps"
	"slices"
	"strings"

	"superctl/api"
)

// differences returns the variables that differ between two plans, or nil. The variables that
// superctl sets itself do not count.
func (p *Plan) differences(next *Plan) *api.VariableChanges {
	before, after := p.values(), next.values()
	changes := new(api.VariableChanges)
	for name := range after {
		if before[name] == nil {
			changes.Added = append(changes.Added, name)
		}
	}
	for name, was := range before {
		switch is := after[name]; {
		case is == nil:
			changes.Removed = append(changes.Removed, name)
		case differ(was, is):
			changes.Changed = append(changes.Changed, name)
		}
	}
	if len(changes.Added)+len(changes.Removed)+len(changes.Changed) == 0 {
		return nil
	}
	slices.Sort(changes.Added)
	slices.Sort(changes.Removed)
	slices.Sort(changes.Changed)
	return changes
}

// differ reports whether the values of a variable differ in a process that both plans have.
func differ(was, is map[string]string) bool {
	for process, value := range was {
		if other, ok := is[process]; ok && other != value {
			return true
		}
	}
	return false
}

// values returns the values of variables, by name and process.
func (p *Plan) values() map[string]map[string]string {
	all := make(map[string]map[string]string)
	for i := range p.Processes {
		one := &p.Processes[i]
		add := func(name, value string) {
			if one.EnvFrom[name] == "superctl" {
				return
			}
			if all[name] == nil {
				all[name] = make(map[string]string)
			}
			all[name][one.Name] = value
		}
		for _, kv := range slices.Concat(one.Env, one.Templates) {
			name, value, _ := strings.Cut(kv, "=")
			add(name, value)
		}
		for name, path := range maps.All(one.Secrets) {
			value, err := readCredential(path)
			if err != nil {
				value = path // of a credential that is lost: only its place can be compared
			}
			add(name, value)
		}
	}
	return all
}
