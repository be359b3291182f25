package config

import (
	"fmt"
	"slices"
	"strings"
)

// ordered sorts the processes by start order: that of the file, except that a process without
// listeners comes after those that its `after` names. Processes with listeners start before all
// others anyway.
func (l *loader) ordered(list []Process) []Process {
	l.checkAfter(list)
	if len(l.list) > 0 {
		return list
	}
	var done []Process
	placed := func(name string) bool {
		return len(list[indexOf(list, name)].Listen) > 0 || indexOf(done, name) >= 0
	}
	left := slices.Clone(list)
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(p Process) bool {
			return !slices.ContainsFunc(p.After, func(name string) bool { return !placed(name) })
		})
		if next < 0 {
			cycle := cycle(left)
			l.at("process."+cycle[0].Name+".after", "%s wait for each other: remove after from one of them",
				others(cycle, ""))
			return list
		}
		done = append(done, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return done
}

// checkAfter reports processes whose `after` cannot be followed.
func (l *loader) checkAfter(list []Process) {
	for i := range list {
		p := &list[i]
		key := "process." + p.Name + ".after"
		if len(p.After) > 0 && len(p.Listen) > 0 {
			l.at(key, "%s has listeners, and starts before all that have none: remove after", p.Name)
		}
		for _, name := range p.After {
			switch {
			case name == p.Name:
				l.at(key, "%s cannot start after itself", p.Name)
			case indexOf(list, name) < 0:
				l.at(key, "there is no process %q: the others are %s", name, others(list, p.Name))
			}
		}
	}
}

// indexOf returns the index of the process of that name, or -1.
func indexOf(list []Process, name string) int {
	return slices.IndexFunc(list, func(p Process) bool { return p.Name == name })
}

// cycle returns a cycle of processes, in the order of the list. Each process of the list waits for
// another one, so that following `after` comes back to an earlier process. Not all need be in a
// cycle: some only wait for one that is.
func cycle(list []Process) (cycle []Process) {
	var path []int
	at := 0
	for !slices.Contains(path, at) {
		path = append(path, at)
		next := slices.IndexFunc(list[at].After, func(name string) bool { return indexOf(list, name) >= 0 })
		at = indexOf(list, list[at].After[next])
	}
	path = path[slices.Index(path, at):]
	slices.Sort(path)
	for _, i := range path {
		cycle = append(cycle, list[i])
	}
	return cycle
}

// others lists the names of processes, except for one.
func others(list []Process, but string) string {
	var names []string
	for _, p := range list {
		if p.Name != but {
			names = append(names, fmt.Sprintf("%q", p.Name))
		}
	}
	return strings.Join(names, ", ")
}
