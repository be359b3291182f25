package config

import (
	"maps"
	"slices"
	"strings"
)

// Variable is an environment variable.
type Variable struct {
	Name, Value string
	From        string // where it is defined
	Credential  string // the unit's credential with its value; "" = Value
	File        string // in memory, with its value: the daemon's, for FromSecrets; "" = Value
	Template    bool   // Value may have placeholders (worker.Expand)
}

// Where a variable is defined.
const (
	FromFile    = "env_file"
	FromSecrets = "secrets" // secrets.command
	FromConfig  = "config"
	FromProcess = "process" // [process.NAME.env] of the config
	FromDaemon  = "inherit" // the daemon's own environment

	FromCredential = "credential" // in any of the tables
)

// environment returns env_file and [env], which has precedence.
func (l *loader) environment() []Variable {
	return append(sorted(l.envFile(), FromFile), l.variables("env", l.f.Env, FromConfig, nil)...)
}

// envFile returns the variables of env_file.
func (l *loader) envFile() map[string]string {
	path := l.path("env_file", l.f.EnvFile)
	if path == "" {
		return nil
	}
	data, err := readRegular(path)
	if err != nil {
		l.at("env_file", "env_file %s: %v", path, err)
		return nil
	}
	file, bad := readEnv(path, data)
	for _, p := range file.ignored {
		l.c.Ignored = append(l.c.Ignored, p.Error())
	}
	for _, p := range file.remarks {
		l.c.Warnings = append(l.c.Warnings, p.Error())
	}
	if bad != nil {
		l.list = append(l.list, bad)
	}
	return file.vars
}

func (l *loader) variables(table string, env map[string]any, from string, listen []string) (list []Variable) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		key := table + "." + name
		l.variable(key, name)
		v := Variable{Name: name, From: from}
		switch value := env[name].(type) {
		case string:
			v.Value, v.Template = value, strings.Contains(value, "{")
			l.placeholders(key, value, listen)
		case map[string]any:
			v.From, v.Credential = FromCredential, l.credential(key, value)
		default:
			l.at(key, `%s: a string is expected, in quotes, or { credential = "NAME" }`, key)
		}
		list = append(list, v)
	}
	return list
}

// variable checks the name of a variable.
func (l *loader) variable(key, name string) {
	switch {
	case !envName.MatchString(name):
		l.at(key, "%q is not a valid name of an environment variable", name)
	case reserved(name):
		l.at(key, "%s is set by superctl itself", name)
	}
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "SUPERCTL_") || strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET" ||
		name == "CREDENTIALS_DIRECTORY"
}

func sorted(env map[string]string, from string) []Variable {
	var list []Variable
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, Variable{Name: name, Value: env[name], From: from})
	}
	return list
}
