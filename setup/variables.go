package setup

import (
	"path/filepath"
	"slices"
)

// EnvPath returns the path of an app's file of secrets.
func EnvPath(app string) string { return filepath.Join(configDir, app+".env") }

// variables decides which variables are in the config and which in the file of secrets.
func (d *decider) variables(s *Site) {
	if d.project.Framework == "Django" && d.project.SetBy {
		s.Env = append(s.Env, Variable{"DJANGO_SETTINGS_MODULE", d.project.Settings})
	}
	var needs []string
	if d.settings != nil {
		needs = d.settings.Needs
	}
	_, exists, _ := d.machine.Read(EnvPath(s.App))
	if len(needs) == 0 && !exists {
		return
	}
	s.EnvFile = EnvPath(s.App)
	for _, name := range needs {
		s.Secrets = append(s.Secrets, Variable{Name: name})
		d.fact("variable", name, "the settings need it")
	}
	if !exists && len(needs) > 0 && !slices.Equal(needs, []string{secretKey}) {
		d.warn("fill in the variables in %s before the first switch", s.EnvFile)
	}
}

// secretKey is a variable that any random text will do for.
const secretKey = "SECRET_KEY"
