package worker

import (
	"net/url"
	"slices"
	"strings"
)

// resourceVar has the attributes that OpenTelemetry adds to all that a process reports: NAME=VALUE
// pairs behind commas, percent-encoded (opentelemetry.io/docs/specs/otel/resource/sdk).
const resourceVar = "OTEL_RESOURCE_ATTRIBUTES"

// describe adds which app and release it is to the OpenTelemetry attributes of an environment;
// those that it has already win. One whose attributes are in a credential is left alone.
func (s *Spec) describe(env []string) []string {
	if _, secret := s.Secrets[resourceVar]; secret {
		return env
	}
	at := slices.IndexFunc(env, func(kv string) bool { return nameOf(kv) == resourceVar })
	if at < 0 {
		at = len(env)
		env = append(env, resourceVar+"=")
	}
	list := strings.TrimRight(strings.TrimPrefix(env[at], resourceVar+"="), ", ")
	for _, a := range [][2]string{{"service.name", s.App}, {"service.version", s.Release}} {
		if a[1] == "" || hasAttribute(list, a[0]) {
			continue
		}
		if list != "" {
			list += ","
		}
		list += a[0] + "=" + strings.ReplaceAll(url.QueryEscape(a[1]), "+", "%20")
	}
	env[at] = resourceVar + "=" + list
	return env
}

func hasAttribute(list, name string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(nameOf(one)) == name {
			return true
		}
	}
	return false
}
