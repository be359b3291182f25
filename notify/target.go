package notify

import (
	"slices"

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

// wants reports whether a message is for this target.
func (t *Target) wants(m *Message) bool {
	s := serviceOf(t.Service)
	if s == nil || s.markersOnly && slices.Contains([]api.Kind{api.Reload, api.Maintenance}, api.Kind(m.Outcome.Kind)) {
		return false
	}
	if len(t.On) == 0 {
		return slices.Contains(s.events, m.Event)
	}
	return slices.Contains(t.On, m.Event)
}
