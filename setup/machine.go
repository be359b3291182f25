package setup

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Machine is what a plan needs to know of the machine.
type Machine struct {
	CPUs int
	// HasUser reports whether there is a user of that name.
	HasUser func(name string) bool
	// InGroup reports whether a user is a member of a group.
	InGroup func(user, group string) bool
	// Owner returns the name of the owner of a path itself, without following a link; "" = there is
	// no such path.
	Owner func(path string) string
	// Real returns a path without links, or the path itself.
	Real func(path string) string
	// Read returns the text of a file of root's; found is false if there is none.
	Read func(path string) (text string, found bool, err error)
	// Program reports whether there is a program in one of root's directories for programs.
	Program func(name string) bool
	// PortTaken reports whether something listens on a TCP port.
	PortTaken func(port int) bool
	// Configs are the texts of the other apps' configs.
	Configs func() []string
}

// Places of files.
const (
	configDir  = "/etc/superctl"
	nginxDir   = "/etc/nginx/conf.d"
	certDir    = "/etc/letsencrypt/live"
	unitDir    = "/etc/systemd/system"
	firstPort  = 8000
	lastPort   = 8999
	defaultTop = "/srv"
)

// ConfigPath returns the path of an app's config.
func ConfigPath(app string) string { return filepath.Join(configDir, app+".toml") }

var addressKey = regexp.MustCompile(`(?m)^\s*address\s*=\s*["']([^"'\n]+)["']`)

// address returns the address of the app's listener: that of its config if there is one already,
// else a free port.
func (m *Machine) address(app string) string {
	if text, found, err := m.Read(ConfigPath(app)); found && err == nil {
		if a := addressKey.FindStringSubmatch(text); a != nil {
			return a[1]
		}
	}
	return m.FreeAddress(app)
}

// FreeAddress returns an address for an app on which nothing listens, and no other app's config has.
func (m *Machine) FreeAddress(app string) string {
	used := map[string]bool{}
	for _, text := range m.Configs() {
		for _, a := range addressKey.FindAllStringSubmatch(text, -1) {
			_, port, _ := cutLast(a[1], ":")
			used[port] = true
		}
	}
	for port := firstPort; port <= lastPort; port++ {
		if text := strconv.Itoa(port); !used[text] && !m.PortTaken(port) {
			return "127.0.0.1:" + text
		}
	}
	return "unix:/run/superctl/" + app + "-web.sock"
}

// layout are the directories of an app in which a project lies.
type layout struct {
	base     string // has releases, current and shared; "" = the project is in none
	releases string
}

// layoutOf finds the Capistrano layout that a directory belongs to: the directory that has releases/
// in it, releases/ itself, a release, or the link current.
func (m *Machine) layoutOf(dir string) layout {
	target := m.Real(dir)
	for _, at := range []string{dir, target} {
		if filepath.Base(filepath.Dir(at)) == "releases" {
			return layout{filepath.Dir(filepath.Dir(at)), filepath.Dir(at)}
		}
		if filepath.Base(at) == "releases" {
			return layout{filepath.Dir(at), at}
		}
		if m.Owner(filepath.Join(at, "releases")) != "" {
			return layout{at, filepath.Join(at, "releases")}
		}
	}
	return layout{}
}

// under reports whether a path is a directory or below it.
func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// plainPath matches paths that mean the same in a config of nginx, in a unit and in a shell.
var plainPath = regexp.MustCompile(`^/[\w./@+-]*$`)

// safePath reports whether a path that the project has named may be written into a file of root's.
func safePath(path string) bool {
	return plainPath.MatchString(path) && !strings.Contains(path, "/../")
}
