package supervisor

import (
	"maps"
	"slices"
	"strings"

	"superctl/beneath"
	"superctl/redact"
	"superctl/supervisor/worker"
)

// redactorOf knows the values of a plan: those of the operator's variables, and of the unit's
// credentials.
func redactorOf(p *Plan) *redact.Redactor {
	var known redact.Secrets
	origins, secrets := make(map[string]string), maps.Clone(p.Hooks.Secrets)
	lists := [][]string{p.Hooks.Env}
	for i := range p.Processes {
		one := &p.Processes[i]
		maps.Copy(origins, one.EnvFrom)
		if secrets == nil {
			secrets = make(worker.Secrets)
		}
		maps.Copy(secrets, one.Secrets)
		lists = append(lists, one.Env, one.Templates)
	}
	for _, kv := range slices.Concat(lists...) {
		name, value, _ := strings.Cut(kv, "=")
		switch from := origins[name]; from {
		case "superctl", "release":
		case "secrets":
			known.Secret(value)
		default:
			known.Variable(name, value)
		}
	}
	for name, path := range secrets {
		if value, err := readCredential(path); err == nil {
			known.Secret(value)
			known.Variable(name, value)
		}
	}
	return known.Redactor()
}

// readCredential reads one as a worker will, but follows no link of its user's.
func readCredential(path string) (string, error) {
	f, err := beneath.OpenFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return worker.SecretFrom(f)
}
