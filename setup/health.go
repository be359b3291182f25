package setup

import (
	"regexp"
	"slices"
	"strings"
)

// health returns the keys of the web's health check.
func (d *decider) health() []Key {
	set := d.settings
	var keys []Key
	candidates := d.project.Health
	if set != nil && set.Resolved {
		candidates = set.Health
	}
	switch {
	case d.answers.Health != "":
		keys = append(keys, Key{"path", tomlString(d.answers.Health), ""})
	case len(candidates) > 0:
		keys = append(keys, Key{"path", tomlString(candidates[0]), ""})
		d.fact("health check", candidates[0], "routes of the project")
	default:
		d.warn("the project has no URL for health checks that superctl init knows, so the check asks for /, which must " +
			"answer without a redirect: add a URL that looks at the database, such as /healthz/, and name it with --health")
	}
	return append(keys, d.asProxied(set)...)
}

// asProxied returns the keys that make the check ask as nginx does.
func (d *decider) asProxied(set *Settings) []Key {
	if set == nil {
		return nil
	}
	var keys []Key
	_, host := d.domains()
	allowsLocal := set.Debug && len(set.AllowedHosts) == 0 || slices.ContainsFunc(set.AllowedHosts, func(h string) bool {
		return h == "*" || h == "localhost" || h == ".localhost"
	})
	if set.PrependWWW && host != "" && !strings.HasPrefix(host, "www.") {
		host, allowsLocal = "www."+host, false
	}
	if !allowsLocal && host != "" {
		keys = append(keys, Key{"host", tomlString(host), "ALLOWED_HOSTS does not have localhost"})
	}
	if !set.SSLRedirect {
		return keys
	}
	keys = append(keys, Key{"scheme", `"https"`, "ask as nginx does: SECURE_SSL_REDIRECT redirects the rest"})
	if name, value := set.schemeHeader(); name != "" {
		keys = append(keys, Key{"headers", "{ " + tomlKey(name) + " = " + tomlString(value) + " }", "SECURE_PROXY_SSL_HEADER"})
	}
	return keys
}

// plainWord matches what may be the name or the value of a header in a config of nginx.
var plainWord = regexp.MustCompile(`^\w+$`)

// schemeHeader returns the header that tells Django that the user came over HTTPS, unless nginx and
// the health check send it anyway.
func (s *Settings) schemeHeader() (name, value string) {
	if s == nil || len(s.ProxyHeader) != 2 || !plainWord.MatchString(s.ProxyHeader[0]) ||
		!plainWord.MatchString(s.ProxyHeader[1]) {
		return "", ""
	}
	name = strings.TrimPrefix(s.ProxyHeader[0], "HTTP_")
	if name == "X_FORWARDED_PROTO" || name == "X_FORWARDED_SSL" || name == s.ProxyHeader[0] {
		return "", ""
	}
	words := strings.Split(strings.ToLower(name), "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "-"), s.ProxyHeader[1]
}
