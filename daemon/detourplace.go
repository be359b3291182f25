package daemon

import (
	"fmt"
	"path/filepath"
	"strings"

	"superctl/config"
	"superctl/releases"
)

// places checks the paths of what outlives a release: sockets, the state and the log. In a release, or
// behind the current link, they are gone for clients after the next switch or prune.
func (d *detours) places(c *config.Config, r releases.Release) error {
	outside, err := c.Store().Paths(filepath.Join(c.Releases, "no-release"))
	if err != nil {
		return err
	}
	type place struct{ key, written, path, instead string }
	list := []place{
		{"state", c.State, c.State, "/var/lib/superctl/" + c.App},
		{"control", c.Control, c.Control, "/run/superctl/" + c.App + ".sock"},
		{"log", c.Log, c.Log, "/var/log/superctl/" + c.App + ".log"},
	}
	for _, l := range c.Listen {
		address := l.Address.String()
		if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
			list = append(list, place{"listen." + l.Name + ".address", address, path, "unix:/run/superctl/" + filepath.Base(path)})
		}
	}
	for _, p := range list {
		if leads := leadsIntoRelease(outside, c, r, p.path); leads != "" {
			d.found = append(d.found, fmt.Sprintf("%s: %s %s: choose a path outside of the releases, such as %s",
				p.key, p.written, leads, p.instead))
		}
	}
	return nil
}

// leadsIntoRelease returns in which release a path is, or will be after a switch to r; "" = in none. A
// link in each release to one directory outside of them is fine.
func leadsIntoRelease(outside *releases.Paths, c *config.Config, r releases.Release, path string) string {
	t, _ := outside.Find(path, "/")
	if t.Current == "" {
		if isRelease(c, r, t.Release) {
			return "is in release " + t.Release
		}
		return ""
	}
	next, _ := outside.Find(filepath.Join(r.Path, t.Rest), "/")
	if t.Release == "" && (r.Path == "" || next.Release == "") {
		return ""
	}
	return fmt.Sprintf("leads through %s, which is another release after each switch", t.Current)
}

// isRelease reports whether a directory among the releases is one: others may be there too.
func isRelease(c *config.Config, r releases.Release, name string) bool {
	if name == "" {
		return false
	}
	dir := filepath.Join(c.Releases, name)
	return dir == r.Path || releases.Release{Name: name, Path: dir}.Virtualenv() != ""
}
