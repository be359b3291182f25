package setup

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"superctl/plain"
)

// requirement matches the start of a line of requirements.txt or of a dependency (PEP 508).
var requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([0-9][\w.+!-]*))?`)

// normal returns a package's name in the form in which names are compared (PEP 503).
func normal(name string) string {
	return strings.ToLower(regexp.MustCompile(`[-_.]+`).ReplaceAllString(name, "-"))
}

// dependencies reads which packages the project needs. What is installed in its virtualenv counts
// most, then the lock file, then what the project asks for.
func (p *Project) dependencies(r *reader) {
	from := ""
	for _, one := range []struct {
		source string
		read   func(*reader) map[string]string
	}{
		{p.Venv, p.installed},
		{"uv.lock", locked("uv.lock", "package")},
		{"pylock.toml", locked("pylock.toml", "packages")},
		{"poetry.lock", locked("poetry.lock", "package")},
		{"requirements*.txt", requirements},
		{"pyproject.toml", pyproject},
	} {
		found := one.read(r)
		for name, version := range found {
			if p.Packages[name] == "" {
				p.Packages[name] = version
			}
		}
		if from == "" && len(found) > 0 {
			from = one.source
			p.fact("dependencies", plain.Count(len(found), "package", "packages"), from)
		}
	}
}

// installed lists the packages in the virtualenv, by their metadata directories.
func (p *Project) installed(r *reader) map[string]string {
	if p.Venv == "" {
		return nil
	}
	list, err := fs.Glob(r.fsys, p.Venv+"/lib/python3*/site-packages/*.dist-info")
	if err != nil {
		return nil
	}
	found := map[string]string{}
	for _, dir := range list {
		name, version, _ := strings.Cut(strings.TrimSuffix(path.Base(dir), ".dist-info"), "-")
		if name = normal(name); name != "pip" && name != "setuptools" {
			found[name] = version
		}
	}
	return found
}

// locked reads a lock file that lists packages in an array of tables.
func locked(file, key string) func(*reader) map[string]string {
	return func(r *reader) map[string]string {
		var doc map[string]any
		if toml.Unmarshal([]byte(r.text(file)), &doc) != nil {
			return nil
		}
		found := map[string]string{}
		list, _ := doc[key].([]any)
		for _, one := range list {
			t, _ := one.(map[string]any)
			name, _ := t["name"].(string)
			version, _ := t["version"].(string)
			if name != "" {
				found[normal(name)] = version
			}
		}
		return found
	}
}

func requirements(r *reader) map[string]string {
	found := map[string]string{}
	for _, f := range r.files {
		base := path.Base(f)
		inDir := path.Base(path.Dir(f)) == "requirements"
		if path.Ext(f) != ".txt" || !strings.HasPrefix(base, "requirements") && !inDir {
			continue
		}
		for line := range strings.Lines(r.text(f)) {
			if m := requirement.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				found[normal(m[1])] = m[2]
			}
		}
	}
	return found
}

func pyproject(r *reader) map[string]string {
	var doc struct {
		Project struct {
			Dependencies []string `toml:"dependencies"`
		} `toml:"project"`
		Tool struct {
			Poetry struct {
				Dependencies map[string]any `toml:"dependencies"`
			} `toml:"poetry"`
		} `toml:"tool"`
	}
	if toml.Unmarshal([]byte(r.text("pyproject.toml")), &doc) != nil {
		return nil
	}
	found := map[string]string{}
	for _, d := range doc.Project.Dependencies {
		if m := requirement.FindStringSubmatch(strings.TrimSpace(d)); m != nil {
			found[normal(m[1])] = m[2]
		}
	}
	for name := range doc.Tool.Poetry.Dependencies {
		if name != "python" {
			found[normal(name)] = ""
		}
	}
	return found
}
