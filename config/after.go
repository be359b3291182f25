package config

import (
	"fmt"
	"slices"
	"strings"
)

// ordered puts the processes into the order in which they start: that of the file, but one without listeners comes after those that its
// `after` names. Those with listeners come before all others anyway.
func (l *loader) ordered(list []Process) []Process {
	byName := func(name string) int { return slices.IndexFunc(list, func(p Process) bool { return p.Name == name }) }
	for i := range list {
		p := &list[i]
		key := "process." + p.Name + ".after"
		if len(p.After) > 0 && len(p.Listen) > 0 {
			l.at(key, "%s has listeners, and starts before all that have none: take after out", p.Name)
		}
		for _, name := range p.After {
			switch {
			case name == p.Name:
				l.at(key, "%s cannot start after itself", p.Name)
			case byName(name) < 0:
				l.at(key, "there is no process %q: the others are %s", name, others(list, p.Name))
			}
		}
	}
	if len(l.list) > 0 {
		return list
	}
	var done []Process
	placed := func(name string) bool {
		return len(list[byName(name)].Listen) > 0 || slices.ContainsFunc(done, func(p Process) bool { return p.Name == name })
	}
	left := slices.Clone(list)
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(p Process) bool {
			return !slices.ContainsFunc(p.After, func(name string) bool { return !placed(name) })
		})
		if next < 0 {
			circle := waiting(left)
			l.at("process."+circle[0].Name+".after", "%s wait for each other: take one of their after out", others(circle, ""))
			return list
		}
		done = append(done, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return done
}

// waiting is a circle of processes, in the order of the list. Each of the list waits for another one of it, so that who follows that
// comes back to where he was; not all are in a circle, some only wait for one that is.
func waiting(list []Process) (circle []Process) {
	byName := func(name string) int { return slices.IndexFunc(list, func(p Process) bool { return p.Name == name }) }
	var path []int
	at := 0
	for !slices.Contains(path, at) {
		path = append(path, at)
		next := slices.IndexFunc(list[at].After, func(name string) bool { return byName(name) >= 0 })
		at = byName(list[at].After[next])
	}
	path = path[slices.Index(path, at):]
	slices.Sort(path)
	for _, i := range path {
		circle = append(circle, list[i])
	}
	return circle
}

// others names processes, but for one.
func others(list []Process, but string) string {
	var names []string
	for _, p := range list {
		if p.Name != but {
			names = append(names, fmt.Sprintf("%q", p.Name))
		}
	}
	return strings.Join(names, ", ")
}
