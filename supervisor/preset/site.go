package preset

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// sitePackages are the directories in which a virtualenv's interpreter finds packages: its own, and those that a .pth file
// in it names.
func sitePackages(venv string) []string {
	own, _ := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages"))
	dirs := own
	for _, dir := range own {
		files, _ := filepath.Glob(filepath.Join(dir, "*.pth"))
		for _, file := range files {
			dirs = append(dirs, named(file)...)
		}
	}
	return dirs
}

// named are the directories in a .pth file (site.py of CPython: lines that are neither comments nor imports).
func named(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // for reading only
	var dirs []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); filepath.IsAbs(line) {
			dirs = append(dirs, line)
		}
	}
	return dirs
}
