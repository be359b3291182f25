package notify

import (
	"context"
	"slices"
)

// service is a kind of target.
type service struct {
	name        string
	secret      string            // key of its secret, without _file
	needs       map[string]string // required keys, with an example
	takes       []string          // optional keys
	events      []Event           // those that it can tell; by default, all of them
	markersOnly bool              // it takes markers of releases only, so a reload is skipped

	check func(secret string) error // checks the form of a secret
	send  func(context.Context, *caller, *Target, string, *Message) error
}

// services returns all services, in the order in which messages list them.
func services() []service {
	all, ends := Events(), []Event{Success, Revert}
	return []service{
		{name: "slack", secret: "url", events: all, check: checkSlack, send: sendSlack},
		{name: "teams", secret: "url", events: all, check: checkTeams, send: sendTeams},
		{name: "discord", secret: "url", events: all, check: checkDiscord, send: sendDiscord},
		{
			name: "email", secret: "password", events: all, check: checkToken, send: sendEmail,
			needs: map[string]string{
				"host": `"smtp.example.com"`, "from": `"shop@example.com"`, "to": `["team@example.com"]`,
			},
			takes: []string{"username", "tls"},
		},
		{
			name: "webhook", secret: "url", events: all, check: checkWebhook, send: sendWebhook,
			takes: []string{"url", "token_file"},
		},
		{
			name: "newrelic", secret: "token", events: ends, markersOnly: true, check: checkToken, send: sendNewRelic,
			needs: map[string]string{"entity": `"MTIzNDU2fEFQTXxBUFBMSUNBVElPTnw3ODkw", the entity's GUID`},
			takes: []string{"region"},
		},
		{
			name: "sentry", secret: "token", events: ends, markersOnly: true, check: checkToken, send: sendSentry,
			needs: map[string]string{"organization": `"example"`, "projects": `["shop"]`},
			takes: []string{"environment", "base_url", "version", "repository"},
		},
		{
			name: "datadog", secret: "token", events: all, check: checkToken, send: sendDatadog,
			takes: []string{"site", "tags"},
		},
		{name: "shoutrrr", secret: "url", events: all, check: checkShoutrrr, send: sendShoutrrr},
	}
}

// serviceOf returns the service of that name, or nil.
func serviceOf(name string) *service {
	for _, s := range services() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

// serviceNames returns the names of all services.
func serviceNames() []string {
	var names []string
	for _, s := range services() {
		names = append(names, s.name)
	}
	return names
}

// keys returns the keys that a target of the service may have, sorted.
func (s *service) keys() []string {
	keys := slices.Concat([]string{"service", "on", "credential", s.secret + "_file"}, s.takes)
	for k := range s.needs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
