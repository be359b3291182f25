package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Variable is one environment variable.
type Variable struct {
	Name, Value string
	From        string // where it is written
	Credential  string // of the unit, which has the value; "" = Value is it
}

// Where a variable is written.
const (
	FromFile    = "env_file"
	FromConfig  = "config"
	FromProcess = "process" // the [process.NAME.env] of the config

	FromCredential = "credential" // whichever of the tables names it
)

// environment is env_file, and [env], which wins.
func (l *loader) environment() []Variable {
	vars := make(map[string]string)
	if path := l.path("env_file", l.f.EnvFile); path != "" {
		if data, err := readRegular(path); err != nil {
			l.at("env_file", "env_file %s: %v", path, err)
		} else if bad := parseEnv(path, string(data), vars); bad != nil {
			l.list = append(l.list, bad)
		}
	}
	return append(sorted(vars, FromFile), l.variables("env", l.f.Env, FromConfig)...)
}

func (l *loader) variables(table string, env map[string]any, from string) (list []Variable) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		key := table + "." + name
		l.variable(key, name)
		v := Variable{Name: name, From: from}
		switch value := env[name].(type) {
		case string:
			v.Value = value
		case map[string]any:
			v.From, v.Credential = FromCredential, l.credential(key, value)
		default:
			l.at(key, `%s: a string is expected, in quotes, or { credential = "NAME" }`, key)
		}
		list = append(list, v)
	}
	return list
}

// variable looks at the name of one.
func (l *loader) variable(key, name string) {
	switch {
	case !envName.MatchString(name):
		l.at(key, "%q is no name of an environment variable", name)
	case reserved(name):
		l.at(key, "%s is set by superctl itself", name)
	}
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "SUPERCTL_") || strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET" || name == "CREDENTIALS_DIRECTORY"
}

func sorted(env map[string]string, from string) []Variable {
	var list []Variable
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, Variable{Name: name, Value: env[name], From: from})
	}
	return list
}

// parseEnv reads lines of NAME=VALUE: blank ones and comments are passed over, `export ` and a pair of quotes taken off.
func parseEnv(path, text string, into map[string]string) *Error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !envName.MatchString(name) {
			return &Error{path, n, 1, fmt.Sprintf("%q is not NAME=VALUE", line)}
		}
		switch {
		case reserved(name):
			return &Error{path, n, 1, name + " is set by superctl itself"}
		case strings.ContainsRune(value, 0):
			return &Error{path, n, 1, name + " has a NUL byte"}
		}
		if value != "" && (value[0] == '"' || value[0] == '\'') {
			if len(value) == 1 || value[len(value)-1] != value[0] {
				return &Error{path, n, 1, "a quote is not closed"}
			}
			value = value[1 : len(value)-1]
		}
		into[name] = value
	}
	return nil
}
