package config

import (
	"regexp"
	"strings"
)

// inheritName matches a variable's name, or a prefix with a trailing *.
var inheritName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)

// inherit parses the names of the daemon's variables that programs inherit.
func (l *loader) inherit() []string {
	for _, name := range l.f.Inherit {
		switch {
		case name == "*":
			l.at("inherit",
				`inherit: "*" would pass on variables of the daemon itself: name the variables, or their beginning `+
					`as in "AWS_*"`)
		case !inheritName.MatchString(name):
			l.at("inherit",
				`inherit: %q is not the name of an environment variable, nor the beginning of one as in "AWS_*"`, name)
		case reserved(strings.TrimSuffix(name, "*")) || builtBySuperctl(name):
			l.at("inherit", "inherit: %s is set by superctl itself", name)
		}
	}
	return l.f.Inherit
}

// Inherited reports whether a variable of the daemon is passed on. Variables about the daemon's own
// sockets, watchdog and credentials never are.
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

// builtBySuperctl reports whether a variable is specific to the daemon, or set by superctl for each
// program.
func builtBySuperctl(name string) bool {
	switch name {
	case "PATH", "VIRTUAL_ENV", "HOME", "USER", "LOGNAME", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID":
		return true
	}
	return strings.HasPrefix(name, "TABLEFLIP_")
}
