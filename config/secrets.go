package config

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Secrets is [secrets]: variables that a command prints at each change, and variables that every
// process must have.
type Secrets struct {
	Command  []string      // nil = none
	Timeout  time.Duration // of the command
	Required []string      // names of variables
}

// secretsTable is [secrets].
type secretsTable struct {
	Command  any       `toml:"command"` // a string of shell words, or a list
	Timeout  *duration `toml:"timeout"`
	Required []string  `toml:"required"`
}

const (
	// defaultSecretsTime is longer than a password manager takes over a slow network. A change waits
	// for the command.
	defaultSecretsTime = 30 * time.Second
	maxSecretsTime     = 10 * time.Minute
)

// secrets parses [secrets].
func (l *loader) secrets() Secrets {
	t := &l.f.Secrets
	s := Secrets{
		Timeout:  l.duration("secrets.timeout", t.Timeout, defaultSecretsTime, time.Second),
		Required: t.Required,
	}
	if s.Timeout > maxSecretsTime {
		l.at("secrets.timeout", "timeout = %q is too long: it must be at most %s, because a change waits for the command",
			*t.Timeout, written(maxSecretsTime))
	}
	if t.Command != nil {
		s.Command = l.words("secrets.command", "command", t.Command)
	}
	if t.Command == nil && t.Timeout != nil {
		l.at("secrets.timeout", "timeout is for secrets.command, and there is none: remove timeout")
	}
	for _, word := range s.Command {
		if l.inRelease(word) {
			l.at("secrets.command",
				"command: %s belongs to a release: the command runs before a release is trusted; install the program "+
					"outside of %s", word, l.c.Releases)
		}
	}
	for i, name := range t.Required {
		switch {
		case !envName.MatchString(name):
			l.at("secrets.required", "required: %q is not a valid name of an environment variable", name)
		case reserved(name) || builtBySuperctl(name):
			l.at("secrets.required", "required: %s is set by superctl itself", name)
		case slices.Contains(t.Required[:i], name):
			l.at("secrets.required", "required: %s is in the list twice", name)
		}
	}
	return s
}

// inRelease reports whether a word is the path of a file in a release.
func (l *loader) inRelease(word string) bool {
	for _, dir := range []string{l.c.Releases, l.c.Current} {
		if dir != "" && filepath.IsAbs(word) && strings.HasPrefix(filepath.Clean(word)+"/", dir+"/") {
			return true
		}
	}
	return false
}

// AddSecrets adds the variables that secrets.command has printed. They have precedence over those of
// env_file, but not over [env].
func (c *Config) AddSecrets(vars map[string]string) {
	at := slices.IndexFunc(c.Env, func(v Variable) bool { return v.From != FromFile })
	if at < 0 {
		at = len(c.Env)
	}
	c.Env = slices.Insert(slices.Clone(c.Env), at, sorted(vars, FromSecrets)...)
}

// WithoutSecrets reports whether the variables of the config itself include all required ones.
func (c *Config) WithoutSecrets() bool {
	return len(c.Secrets.Required) > 0 && !slices.ContainsFunc(c.Secrets.Required, func(name string) bool {
		return !slices.ContainsFunc(c.Env, func(v Variable) bool {
			return v.Name == name && (v.Value != "" || v.Credential != "")
		})
	})
}
