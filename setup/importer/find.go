package importer

import (
	"path"
	"slices"
	"strings"
)

// unitDirs are the directories of units, the first of which wins (systemd.unit(5)).
func unitDirs() []string {
	return []string{
		"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
		"/lib/systemd/system",
	}
}

// FindUnit returns the files of a unit: the unit itself, its drop-ins, and the socket unit of the
// same name. list lists the names in a directory. There are none if the unit does not exist.
func FindUnit(name string, open func(string) (string, error), list func(dir string) []string) []File {
	if !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".socket") {
		name += ".service"
	}
	if strings.Contains(name, "/") {
		return nil
	}
	files := unitFiles(name, open, list)
	if base, ok := strings.CutSuffix(name, ".service"); ok && len(files) > 0 {
		files = append(files, unitFiles(base+".socket", open, list)...)
	}
	return files
}

func unitFiles(name string, open func(string) (string, error), list func(dir string) []string) (files []File) {
	names := []string{name}
	if before, after, ok := strings.Cut(name, "@"); ok {
		names = append(names, before+"@"+after[strings.LastIndexByte(after, '.'):]) // the template
	}
	for _, dir := range unitDirs() {
		for _, n := range names {
			if text, err := open(path.Join(dir, n)); err == nil && len(files) == 0 {
				files = append(files, File{path.Join(dir, n), text})
			}
		}
	}
	if len(files) == 0 {
		return nil
	}
	dropIns := map[string]string{} // name -> path; the first directory wins
	for _, dir := range unitDirs() {
		for _, n := range names {
			for _, f := range list(path.Join(dir, n+".d")) {
				if _, known := dropIns[f]; strings.HasSuffix(f, ".conf") && !known {
					dropIns[f] = path.Join(dir, n+".d", f)
				}
			}
		}
	}
	var order []string
	for f := range dropIns {
		order = append(order, f)
	}
	slices.Sort(order)
	for _, f := range order {
		if text, err := open(dropIns[f]); err == nil {
			files = append(files, File{dropIns[f], text})
		}
	}
	return files
}
