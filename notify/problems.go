package notify

import (
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
)

// Problem is an error in the config of a target. Key is the config's key, or "".
type Problem struct{ Key, Text string }

// review collects the errors in the config of a target.
type review struct {
	*Target
	service *service
	keys    []string // that the config has
	list    []Problem
}

func (r *review) add(key, format string, args ...any) {
	r.list = append(r.list, Problem{key, fmt.Sprintf(format, args...)})
}

func (r *review) has(key string) bool { return slices.Contains(r.keys, key) }

// Problems returns the errors in the config of a target; keys are the keys that the config has. It
// reads no secret.
func (t *Target) Problems(keys []string) []Problem {
	r := review{Target: t, service: serviceOf(t.Service), keys: keys}
	if r.service == nil {
		r.unknownService()
		return r.list
	}
	r.checkKeys()
	r.checkEvents()
	r.checkSecret()
	r.checkValues()
	return r.list
}

func (r *review) unknownService() {
	known := strings.Join(serviceNames(), ", ")
	if r.Service == "" {
		r.add("", `it has no service: write service = "slack", or another of %s`, known)
		return
	}
	r.add("service", "service %q is not known: %s; what else shoutrrr can reach is service = \"shoutrrr\"",
		r.Service, known)
}

// checkKeys reports keys of other services, and those that are missing.
func (r *review) checkKeys() {
	allowed := r.service.keys()
	for _, k := range r.keys {
		switch {
		case slices.Contains(allowed, k):
		case k == "url":
			r.add(k,
				"the URL of %s is a secret: put it into a file of its own, and write url_file = \"/etc/shop/%s-url\"",
				r.Service, r.Name)
		default:
			r.add(k, "%s is not for service %q, which has: %s", k, r.Service, strings.Join(allowed, ", "))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.service.needs)) {
		if !r.has(k) {
			r.add("", "service %q needs %s: write %s = %s", r.Service, k, k, r.service.needs[k])
		}
	}
}

func (r *review) checkEvents() {
	can := r.service.events
	if r.has("on") && len(r.On) == 0 {
		r.add("on", "on: it is empty: write at least one of %s, or leave the whole target out", eventNames(can))
	}
	for _, e := range r.On {
		if !slices.Contains(can, e) {
			r.add("on", "on: %q is not an event for %s; there are: %s", e, r.Service, eventNames(can))
		}
	}
}

// checkSecret reports a secret that is configured nowhere or twice.
func (r *review) checkSecret() {
	secret := r.service.secret
	file := secret + "_file"
	given := r.has(file) || r.has("credential")
	switch {
	case r.Service == "webhook" && r.has("url"):
		r.checkPublicURL()
	case r.has(file) && r.has("credential"):
		r.add("credential", "%s and credential are both for the %s: write one of them", file, secret)
	case r.Service == "email":
		if r.has("username") != given {
			r.add("username",
				"a username and a password (password_file, or credential) belong together: write both, or none for "+
					"a server that asks for none")
		}
	case r.has("url"): // reported already
	case !given:
		r.add("",
			`it has no %s: write %s = "/etc/shop/%s-%s", or credential = "%s-%s" for one that systemd's `+
				`LoadCredential= has`, secret, file, r.Name, secret, r.Name, secret)
	}
	if strings.ContainsAny(r.Credential, "/\x00") || r.Credential == ".." {
		r.add("credential", "credential %q: write its name only, as in LoadCredential=", r.Credential)
	}
}

// checkPublicURL checks a webhook whose URL is in the config, so that its secret is a token.
func (r *review) checkPublicURL() {
	if r.has("url_file") {
		r.add("url_file", "url and url_file are both set: write one of them")
	}
	if r.has("token_file") && r.has("credential") {
		r.add("credential", "token_file and credential are both for the token: write one of them")
	}
}

// checkValues reports invalid values of single keys.
func (r *review) checkValues() {
	r.checkWords()
	r.checkMail()
	r.checkForms()
}

// invalid reports the value of a key. A key that the service does not have is reported already.
func (r *review) invalid(key, format string, args ...any) {
	if slices.Contains(r.service.keys(), key) {
		r.add(key, format, args...)
	}
}

// checkWords checks the values that are one of a few words.
func (r *review) checkWords() {
	for _, w := range []struct {
		key, value string
		words      []string
	}{
		{"tls", r.TLS, []string{"starttls", "implicit", "none"}},
		{"region", r.Region, []string{"us", "eu", "jp"}},
		{"version", r.Version, []string{"release", "commit"}},
	} {
		if r.has(w.key) && !slices.Contains(w.words, w.value) {
			r.invalid(w.key, "%s %q is not known: %s", w.key, w.value, strings.Join(w.words, ", "))
		}
	}
}

func (r *review) checkMail() {
	if r.has("host") {
		if _, _, err := r.mailServer(); err != nil {
			r.invalid("host", "host %q: %v", r.Host, err)
		}
	}
	if r.TLS == "none" && r.Username != "" && !r.mailIsLocal() {
		r.invalid("tls",
			`tls = "none" would send the password over the network in the clear: write tls = "starttls", or leave `+
				`username and password out`)
	}
	r.checkAddresses("from", r.From)
	r.checkAddresses("to", r.To...)
	for key, list := range map[string][]string{"to": r.To, "projects": r.Projects} {
		if r.has(key) && len(list) == 0 {
			r.invalid(key, "%s: it is empty", key)
		}
	}
}

func (r *review) checkAddresses(key string, list ...string) {
	for _, address := range list {
		if _, err := mail.ParseAddress(address); err != nil && r.has(key) {
			r.invalid(key, `%s: %q is not a mail address, such as "team@example.com"`, key, address)
		}
	}
}

// checkForms checks the values that have a form of their own.
func (r *review) checkForms() {
	isURL := func(s string) bool { return checkHTTP(s) == nil }
	for _, f := range []struct {
		key, value string
		valid      func(string) bool
		advice     string
	}{
		{
			"entity", r.Entity, func(s string) bool { return isToken(s, "=|") },
			" is not the GUID of an entity: New Relic shows it under See metadata and manage tags",
		},
		{
			"organization", r.Organization, func(s string) bool { return isToken(s, ".") },
			": write its slug, as in the address of its pages",
		},
		{"base_url", r.BaseURL, isURL, `: write where Sentry is, such as "https://sentry.example.com"`},
		{
			"site", r.Site, func(s string) bool { return isToken(s, ".") && strings.Contains(s, ".") },
			`: write the name of the Datadog site, such as "datadoghq.eu"`,
		},
		{"url", r.URL, isURL, `: write a whole URL, such as "https://ops.example.com/hooks/superctl"`},
	} {
		if f.value != "" && !f.valid(f.value) {
			r.invalid(f.key, "%s %q%s", f.key, f.value, f.advice)
		}
	}
}

func eventNames(list []Event) string {
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = fmt.Sprintf("%q", string(e))
	}
	return strings.Join(names, ", ")
}

// isToken reports whether a text consists of letters, digits, -, _ and the additional characters.
func isToken(text, besides string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("-_"+besides, r)
	})
}
