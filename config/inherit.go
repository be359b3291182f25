package config

import (
	"regexp"
	"strings"
)

// inheritName is a variable of the daemon's, or the beginning of some.
var inheritName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)

// inherit reads the names of the variables that programs have from the daemon's own environment.
func (l *loader) inherit() []string {
	for _, name := range l.f.Inherit {
		switch {
		case name == "*":
			l.at("inherit", `inherit: "*" would pass on what is the daemon's alone: name the variables, or their beginning as in "AWS_*"`)
		case !inheritName.MatchString(name):
			l.at("inherit", `inherit: %q is not the name of an environment variable, nor the beginning of one as in "AWS_*"`, name)
		case reserved(strings.TrimSuffix(name, "*")) || builtBySuperctl(name):
			l.at("inherit", "inherit: %s is set by superctl itself", name)
		}
	}
	return l.f.Inherit
}

// Inherited reports whether a variable of the daemon's is to be passed on. What tells the daemon of its own sockets, watchdog and
// credentials is never.
func (c *Config) Inherited(name string) bool {
	if reserved(name) || builtBySuperctl(name) || !envName.MatchString(name) {
		return false
	}
	for _, pattern := range c.Inherit {
		beginning, open := strings.CutSuffix(pattern, "*")
		if name == pattern || open && strings.HasPrefix(name, beginning) {
			return true
		}
	}
	return false
}

// builtBySuperctl reports whether a variable is the daemon's own affair: it would be wrong in a program of a release.
func builtBySuperctl(name string) bool {
	switch name {
	case "PATH", "VIRTUAL_ENV", "HOME", "USER", "LOGNAME", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID":
		return true
	}
	return strings.HasPrefix(name, "TABLEFLIP_")
}
