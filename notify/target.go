package notify

import (
	"context"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"

	"superctl/api"
)

// Target is a recipient of messages, as configured. Which of its keys are allowed depends on the
// service.
type Target struct {
	Name    string
	Service string
	On      []Event // none: the service's default

	// The file with its secret: the URL, the token or the password. The config itself never
	// contains the secret.
	URLFile, TokenFile, PasswordFile string
	Credential                       string // a name in $CREDENTIALS_DIRECTORY, systemd's LoadCredential=
	URL                              string // of a webhook, if it is not secret

	Host, TLS, From, Username string   // email
	To                        []string // email

	Organization, Environment, BaseURL, Version, Repository string   // sentry
	Projects                                                []string // sentry
	Entity, Region                                          string   // newrelic
	Site                                                    string   // datadog
	Tags                                                    []string // datadog
}

// Problem is an error in the config of a target. Key is the config's key, or "".
type Problem struct{ Key, Text string }

// service is a kind of target.
type service struct {
	secret      string            // key of its secret, without _file; "" for none
	needs       map[string]string // required keys, with an example
	takes       []string          // optional keys
	on          []Event           // default events
	can         []Event
	markersOnly bool                      // it takes markers of releases only, so a reload is skipped
	check       func(secret string) error // checks the form of a secret
	send        func(context.Context, *caller, *Target, string, *Message) error
}

// serviceOf returns the service of that name, or nil.
func serviceOf(name string) *service {
	all := Events()
	ends := []Event{Success, Revert}
	switch name {
	case "slack":
		return &service{secret: "url", on: all, can: all, check: checkSlack, send: sendSlack}
	case "teams":
		return &service{secret: "url", on: all, can: all, check: checkTeams, send: sendTeams}
	case "discord":
		return &service{secret: "url", on: all, can: all, check: checkDiscord, send: sendDiscord}
	case "webhook":
		return &service{
			secret: "url", takes: []string{"url", "token_file"}, on: all, can: all,
			check: checkWebhook, send: sendWebhook,
		}
	case "shoutrrr":
		return &service{secret: "url", on: all, can: all, check: checkShoutrrr, send: sendShoutrrr}
	case "email":
		return &service{
			secret: "password", on: all, can: all, takes: []string{"username", "tls"}, check: checkToken,
			send: sendEmail,
			needs: map[string]string{
				"host": `"smtp.example.com"`, "from": `"shop@example.com"`,
				"to": `["team@example.com"]`,
			},
		}
	case "newrelic":
		return &service{
			secret: "token", on: ends, can: ends, markersOnly: true, takes: []string{"region"}, check: checkToken,
			send:  sendNewRelic,
			needs: map[string]string{"entity": `"MTIzNDU2fEFQTXxBUFBMSUNBVElPTnw3ODkw", the entity's GUID`},
		}
	case "sentry":
		return &service{
			secret: "token", on: ends, can: ends, markersOnly: true,
			takes: []string{"environment", "base_url", "version", "repository"}, check: checkToken, send: sendSentry,
			needs: map[string]string{"organization": `"example"`, "projects": `["shop"]`},
		}
	case "datadog":
		return &service{
			secret: "token", on: all, can: all, takes: []string{"site", "tags"}, check: checkToken,
			send: sendDatadog,
		}
	}
	return nil
}

// Services returns the names of all services.
func Services() []string {
	return []string{"slack", "teams", "discord", "email", "webhook", "newrelic", "sentry", "datadog", "shoutrrr"}
}

// wants reports whether a message is for this target.
func (t *Target) wants(m *Message) bool {
	s := serviceOf(t.Service)
	if s == nil || s.markersOnly && m.Outcome.Kind == string(api.Reload) {
		return false
	}
	on := t.On
	if len(on) == 0 {
		on = s.on
	}
	return slices.Contains(on, m.Event)
}

// Problems returns the errors in the config of a target; keys are the keys that the config has. It
// reads no secret.
func (t *Target) Problems(keys []string) (list []Problem) {
	add := func(key, format string, args ...any) { list = append(list, Problem{key, fmt.Sprintf(format, args...)}) }
	s := serviceOf(t.Service)
	if s == nil {
		if t.Service == "" {
			add("", `it has no service: write service = "slack", or another of %s`, strings.Join(Services(), ", "))
		} else {
			add("service", "service %q is not known: %s; what else shoutrrr can reach is service = \"shoutrrr\"",
				t.Service, strings.Join(Services(), ", "))
		}
		return list
	}
	allowed := slices.Concat([]string{"service", "on", "credential"}, s.takes, slices.Collect(maps.Keys(s.needs)))
	if s.secret != "" {
		allowed = append(allowed, s.secret+"_file")
	}
	for _, k := range keys {
		switch {
		case slices.Contains(allowed, k):
		case k == "url":
			add(k,
				"the URL of %s is a secret: put it into a file of its own, and write url_file = \"/etc/shop/%s-url\"",
				t.Service, t.Name)
		default:
			slices.Sort(allowed)
			add(k, "%s is not for service %q, which has: %s", k, t.Service, strings.Join(allowed, ", "))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.needs)) {
		if !slices.Contains(keys, k) {
			add("", "service %q needs %s: write %s = %s", t.Service, k, k, s.needs[k])
		}
	}
	if slices.Contains(keys, "on") && len(t.On) == 0 {
		add("on", "on: it is empty: write at least one of %s, or leave the whole target out", eventNames(s.can))
	}
	for _, e := range t.On {
		if !slices.Contains(s.can, e) {
			add("on", "on: %q is not an event for %s; there are: %s", e, t.Service, eventNames(s.can))
		}
	}
	t.secretProblems(s, keys, add)
	t.valueProblems(keys, func(key, format string, args ...any) {
		if slices.Contains(allowed, key) { // otherwise the key itself is reported already
			add(key, format, args...)
		}
	})
	return list
}

// secretProblems reports a secret that is configured nowhere or twice.
func (t *Target) secretProblems(s *service, keys []string, add func(key, format string, args ...any)) {
	has := func(k string) bool { return slices.Contains(keys, k) }
	file := s.secret + "_file"
	switch {
	case t.Service == "webhook" && has("url"):
		if has("url_file") {
			add("url_file", "url and url_file both say where to: write one of them")
		}
		if has("token_file") && has("credential") {
			add("credential", "token_file and credential are both for the token: write one of them")
		}
	case has(file) && has("credential"):
		add("credential", "%s and credential are both for the %s: write one of them", file, s.secret)
	case t.Service == "email":
		if has("username") != (has(file) || has("credential")) {
			add("username",
				"a username and a password (password_file, or credential) belong together: write both, or none for "+
					"a server that asks for none")
		}
	case has("url"): // reported already
	case !has(file) && !has("credential"):
		add("",
			`it has no %s: write %s = "/etc/shop/%s-%s", or credential = "%s-%s" for one that systemd's `+
				`LoadCredential= has`, s.secret, file, t.Name, s.secret, t.Name, s.secret)
	}
	if strings.ContainsAny(t.Credential, "/\x00") || t.Credential == ".." {
		add("credential", "credential %q: write its name only, as in LoadCredential=", t.Credential)
	}
}

// valueProblems reports invalid values of single keys.
func (t *Target) valueProblems(keys []string, add func(key, format string, args ...any)) {
	oneOf := func(key, value string, values ...string) {
		if slices.Contains(keys, key) && !slices.Contains(values, value) {
			add(key, "%s %q is not known: %s", key, value, strings.Join(values, ", "))
		}
	}
	oneOf("tls", t.TLS, "starttls", "implicit", "none")
	oneOf("region", t.Region, "us", "eu", "jp")
	oneOf("version", t.Version, "release", "commit")
	if slices.Contains(keys, "host") {
		if _, _, err := t.mailServer(); err != nil {
			add("host", "host %q: %v", t.Host, err)
		}
	}
	if t.TLS == "none" && t.Username != "" && !t.mailIsLocal() {
		add("tls",
			`tls = "none" would send the password over the network in the clear: write tls = "starttls", or leave `+
				`username and password out`)
	}
	for key, list := range map[string][]string{"from": {t.From}, "to": t.To} {
		for _, address := range list {
			if _, err := mail.ParseAddress(address); err != nil && slices.Contains(keys, key) {
				add(key, `%s: %q is not a mail address, such as "team@example.com"`, key, address)
			}
		}
	}
	for key, list := range map[string][]string{"to": t.To, "projects": t.Projects} {
		if slices.Contains(keys, key) && len(list) == 0 {
			add(key, "%s: it is empty", key)
		}
	}
	if t.Entity != "" && !isToken(t.Entity, "=|") {
		add("entity", "entity %q is not the GUID of an entity: New Relic shows it under See metadata and manage tags",
			t.Entity)
	}
	if t.Organization != "" && !isToken(t.Organization, ".") {
		add("organization", "organization %q: write its slug, as in the address of its pages", t.Organization)
	}
	if t.BaseURL != "" && checkHTTP(t.BaseURL) != nil {
		add("base_url", `base_url %q: write where Sentry is, such as "https://sentry.example.com"`, t.BaseURL)
	}
	if t.Site != "" && (!isToken(t.Site, ".") || !strings.Contains(t.Site, ".")) {
		add("site", `site %q: write the name of the Datadog site, such as "datadoghq.eu"`, t.Site)
	}
	if t.URL != "" && checkHTTP(t.URL) != nil {
		add("url", `url %q: write a whole URL, such as "https://ops.example.com/hooks/superctl"`, t.URL)
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
