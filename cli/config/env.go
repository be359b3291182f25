package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// environment is [env] over env_file.
func (l *loader) environment() []string {
	vars := make(map[string]string)
	if path := l.path("env_file", l.f.EnvFile); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			l.at("env_file", "env_file: %v", err)
		}
		if err := parseEnv(path, string(data), vars); err != nil {
			l.list = append(l.list, err)
		}
	}
	for _, kv := range l.variables("env", l.f.Env) {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	return sorted(vars)
}

func (l *loader) variables(key string, env map[string]string) []string {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !envName.MatchString(name):
			l.at(key+"."+name, "%q is no name of an environment variable", name)
		case strings.HasPrefix(name, "SUPERCTL_") || strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET":
			l.at(key+"."+name, "%s is set by superctl itself", name)
		case strings.ContainsRune(env[name], 0):
			l.at(key+"."+name, "%s has a NUL byte", name)
		}
	}
	return sorted(env)
}

func sorted(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
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
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') {
			if value[len(value)-1] != value[0] {
				return &Error{path, n, 1, "a quote is not closed"}
			}
			value = value[1 : len(value)-1]
		}
		into[name] = value
	}
	return nil
}
