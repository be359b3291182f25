package servers

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// version is the first two numbers of a package's version.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// version returns the version of a package that the command will import: from the virtualenv of its
// program, or from the release's.
func (c *command) version(name string) (version, bool) {
	var venvs []string
	for _, word := range c.in.Command[:min(c.program+1, len(c.in.Command))] {
		if filepath.IsAbs(word) {
			venvs = append(venvs, filepath.Dir(filepath.Dir(word)))
		}
	}
	if c.in.Release != "" {
		venvs = append(venvs, filepath.Join(c.in.Release, "venv"), filepath.Join(c.in.Release, ".venv"))
	}
	for _, venv := range venvs {
		for _, dir := range sitePackages(venv) {
			if v, ok := installed(dir, name); ok {
				return v, true
			}
		}
	}
	return version{}, false
}

// installed reads a version from the name of a package's metadata directory, which pip and Debian
// write next to the package.
func installed(dir, name string) (v version, ok bool) {
	for _, kind := range []string{".dist-info", ".egg-info"} {
		found, _ := filepath.Glob(filepath.Join(dir, name+"-*"+kind))
		for _, info := range found {
			text := strings.TrimPrefix(filepath.Base(info), name+"-")
			if n, _ := fmt.Sscanf(text, "%d.%d", &v.major, &v.minor); n == 2 {
				return v, true
			}
		}
	}
	return version{}, false
}

// sitePackages returns the directories in which a virtualenv's interpreter finds packages: its own,
// those in its .pth files, and the system's if the virtualenv includes them.
func sitePackages(venv string) []string {
	own, _ := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages"))
	dirs := own
	for _, dir := range own {
		files, _ := filepath.Glob(filepath.Join(dir, "*.pth"))
		for _, file := range files {
			dirs = append(dirs, pthDirectories(file)...)
		}
	}
	if cfg, err := ReadConfig(filepath.Join(venv, "pyvenv.cfg")); err == nil && seesSystem(cfg) {
		dirs = append(dirs, "/usr/lib/python3/dist-packages")
	}
	return dirs
}

// seesSystem reports whether a virtualenv was made with --system-site-packages.
func seesSystem(cfg string) bool {
	for line := range strings.Lines(cfg) {
		key, value, _ := strings.Cut(line, "=")
		if strings.TrimSpace(key) == "include-system-site-packages" {
			return strings.TrimSpace(value) == "true"
		}
	}
	return false
}

// pthDirectories returns the directories in a .pth file: the lines that are neither comments nor
// imports (site.py of CPython).
func pthDirectories(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var dirs []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); filepath.IsAbs(line) {
			dirs = append(dirs, line)
		}
	}
	return dirs
}
