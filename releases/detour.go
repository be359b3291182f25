package releases

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Detour describes how a path that is meant to stay inside one release leaves it.
type Detour struct {
	Path    string // as given
	Current string // the `current` link, if the path leads through it
	Release string // the other release that the path leads into; "" if none
	Rest    string // the path inside that release; "" = the release's directory itself
}

// Paths finds paths that leave a release: through the `current` link, which belongs to another
// release until the cutover, or into another release directly. It reads the file system at each
// call and resolves links as the kernel does.
type Paths struct {
	own     []string          // real paths of the release
	others  map[string]string // real path -> name of the other releases
	dir     string            // real path of the directory of releases
	current string            // path of the link, with the links before it resolved; "" = none
	link    string            // path of the link as configured
}

// Paths returns the finder of paths that leave the release at path.
func (s *Store) Paths(path string) (*Paths, error) {
	p := &Paths{own: []string{filepath.Clean(path)}, others: make(map[string]string), link: s.Current}
	if target, err := filepath.EvalSymlinks(path); err == nil && target != p.own[0] {
		p.own = append(p.own, target)
	}
	var err error
	if p.dir, err = filepath.EvalSymlinks(s.Dir); err != nil {
		return nil, err
	}
	if s.Current != "" {
		p.current = filepath.Clean(s.Current)
		if parent, err := filepath.EvalSymlinks(filepath.Dir(p.current)); err == nil {
			p.current = filepath.Join(parent, filepath.Base(p.current))
		}
	}
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		at := filepath.Join(p.dir, e.Name())
		if at == p.current {
			continue
		}
		if e.Type() == fs.ModeSymlink {
			target, err := filepath.EvalSymlinks(at)
			if err != nil {
				continue
			}
			at = target
		}
		p.others[at] = e.Name()
	}
	for _, own := range p.own {
		delete(p.others, own)
	}
	return p, nil
}

// mostLinks is the number of links that the kernel follows in one path (path_resolution(7)).
const mostLinks = 40

// Find reports whether a path leaves the release, and how. A relative path starts at dir.
func (p *Paths) Find(path, dir string) (Detour, bool) {
	d := Detour{Path: path}
	if path == "" || strings.ContainsRune(path, 0) {
		return d, false
	}
	full := path
	if !filepath.IsAbs(path) {
		full = dir + "/" + path // not filepath.Join: `..` after a link means the parent of its target
	}
	at := p.follow(full, &d)
	if name, inside, ok := p.other(at); ok {
		d.Release = name
		if d.Current == "" {
			d.Rest = inside
		}
		return d, true
	}
	return d, d.Current != ""
}

// follow returns where a path leads. It notes in d if the path leads through the `current` link.
func (p *Paths) follow(path string, d *Detour) (at string) {
	at = "/"
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		if next == p.current && d.Current == "" {
			d.Current, d.Rest = p.link, filepath.Join(rest...)
		}
		to, err := os.Readlink(next)
		if err != nil {
			at = next // not a link, or missing: take the rest literally
			continue
		}
		if links++; links > mostLinks {
			return at
		}
		rest = append(strings.Split(to, "/"), rest...)
		if filepath.IsAbs(to) {
			at = "/"
		}
	}
	return at
}

// other returns the other release that contains a resolved path.
func (p *Paths) other(at string) (name, inside string, ok bool) {
	for _, own := range p.own {
		if within(own, at) {
			return "", "", false
		}
	}
	for dir := at; dir != "/"; dir = filepath.Dir(dir) {
		if name, ok := p.others[dir]; ok {
			inside, _ = filepath.Rel(dir, at)
			return name, strings.TrimPrefix(inside, "."), true
		}
	}
	if below, err := filepath.Rel(p.dir, at); err == nil && filepath.IsLocal(below) && below != "." {
		name, inside, _ = strings.Cut(below, "/") // a release that was removed
		return name, inside, !strings.HasPrefix(name, ".")
	}
	return "", "", false
}

// written matches a path in a text: it starts with a slash, or leads upwards.
var written = regexp.MustCompile(`(?:^|[\s"'=:,;()\[\]{}<>|&!@` + "`" + `])(?:-[A-Za-z])?(?:file://)?` +
	`((?:\.\.?/)*(?:/|\.\./)[^\s"'=:,;()\[\]{}<>|&` + "`" + `$*?\\]*)`)

// InText returns the first path that leaves the release in a text such as a command, a value or a
// line of a config. Relative paths start at dir.
func (p *Paths) InText(text, dir string) (Detour, bool) {
	for at := 0; at < len(text); {
		m := written.FindStringSubmatchIndex(text[at:])
		if m == nil {
			return Detour{}, false
		}
		if d, ok := p.Find(text[at+m[2]:at+m[3]], dir); ok {
			return d, true
		}
		at += max(m[3], 1) // the character after one path may begin the next
	}
	return Detour{}, false
}
