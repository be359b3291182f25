package bundle

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"superctl/plain"
)

// Limits of a path and of one name in it: those of Linux (limits.h: PATH_MAX, NAME_MAX), less room
// for the directory of the release.
const (
	pathLimit = 3000
	nameLimit = 255
	// dirsLimit is the maximum depth of a path: Python's byte-compiler fails beyond its recursion
	// limit.
	dirsLimit = 200
)

// ours are the names at the top of a release that superctl creates itself.
//
//nolint:gochecknoglobals // a constant, which Go has no syntax for
var ours = []string{"venv", ".venv", ".superctl", ".incomplete", "release.toml"}

// reserved reports whether a project may not use a name at its top, because an installation creates
// it.
func reserved(name string) bool { return slices.Contains(ours, name) }

// checkPath refuses the path of a member unless it is relative, clean, printable and in one of the
// archive's directories.
func checkPath(p string) error {
	switch {
	case p == "" || !plain.IsLine(p) || strings.Contains(p, "\t"):
		return fmt.Errorf("member %q: its name is not printable", p)
	case path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("member %q leads outside", p)
	case len(p) > pathLimit:
		return fmt.Errorf("member %.60q...: its path is longer than %d bytes", p, pathLimit)
	}
	if err := checkNames(p); err != nil {
		return err
	}
	return checkPlace(p)
}

// checkPlace refuses a path that is neither a file of the project nor a wheel.
func checkPlace(p string) error {
	switch names := strings.Split(p, "/"); {
	case names[0] == Project && len(names) > 1:
		if reserved(names[1]) {
			return fmt.Errorf("member %q: superctl makes %s itself", p, names[1])
		}
		return nil
	case names[0] == Wheels && len(names) == 2 && path.Ext(p) == ".whl":
		return nil
	}
	return fmt.Errorf("member %q is neither of the project nor a wheel", p)
}

// checkNames refuses a path that is too deep, or has a name that is too long.
func checkNames(p string) error {
	names := strings.Split(p, "/")
	if len(names) > dirsLimit {
		return fmt.Errorf("member %.60q...: it is more than %d directories deep", p, dirsLimit)
	}
	for _, name := range names {
		if len(name) > nameLimit {
			return fmt.Errorf("member %.60q...: a name in its path is longer than %d bytes", p, nameLimit)
		}
	}
	return nil
}

// checkLink refuses a symbolic link unless it is the project's and stays inside. Every `..` must
// come first: there it goes up through real directories, because no member lies below a link. After
// a name it would go up from the target of that name.
func checkLink(p, target string) error {
	outside := fmt.Errorf("member %q is a link to %q, which leads outside the project", p, target)
	if !strings.HasPrefix(p, Project+"/") {
		return fmt.Errorf("member %q is a link, which only the project may have", p)
	}
	if !plain.IsLine(target) || len(target) > pathLimit {
		return fmt.Errorf("member %q is a link whose target is not printable or too long", p)
	}
	if path.IsAbs(target) {
		return outside
	}
	up, named := 0, false
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if named {
				return outside
			}
			up++
		default:
			named = true
		}
	}
	if up > strings.Count(p, "/")-1 {
		return outside
	}
	return nil
}

// parents returns the directories above a path, nearest first.
func parents(p string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for d := path.Dir(p); d != "." && d != "/"; d = path.Dir(d) {
			if !yield(d) {
				return
			}
		}
	}
}
