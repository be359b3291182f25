package notify

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"superctl/api"
)

// reported is when the messages of the tests were made.
var reported = time.Date(2026, 11, 23, 3, 4, 9, 0, time.UTC)

var update = flag.Bool("update", false, "write testdata/requests.txtar")

const (
	slackURL   = "https://hooks.slack.com/services/T0/B0/XXXXXXXXXXXX"
	teamsURL   = "https://default0123.45.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/abcdef/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=SIGNATURE0123"
	discordURL = "https://discord.com/api/webhooks/123456789012345678/TOKEN-abc_def-0123456789"
	aToken     = "token-0123456789abcdef"
)

func TestEachServiceGetsTheDocumentedRequest(t *testing.T) {
	n, c := newInternet(t)
	n.answer = ok
	const golden = "testdata/requests.txtar"
	got := &txtar.Archive{}
	for _, test := range []struct {
		name   string
		to     Target
		secret string
		result api.Result
	}{
		{"slack", Target{Service: "slack"}, slackURL, api.Reverted},
		{"teams", Target{Service: "teams"}, teamsURL, api.Done},
		{"discord", Target{Service: "discord"}, discordURL + "?thread_id=42", api.Aborted},
		{"webhook", Target{Service: "webhook"}, "https://ops.example.com/hook?key=SECRETKEY", api.Reverted},
		{"webhook with a token", Target{Service: "webhook", URL: "https://ops.example.com/hook"}, aToken, ""},
		{"datadog", Target{Service: "datadog", Site: "datadoghq.eu", Tags: []string{"team:shop"}}, aToken, api.Done},
		{"newrelic", Target{Service: "newrelic", Entity: "MTIzfEFQTXw=", Region: "eu"}, aToken, api.Done},
		{"newrelic after a revert", Target{Service: "newrelic", Entity: "MTIzfEFQTXw="}, aToken, api.Reverted},
		{
			"sentry",
			Target{Service: "sentry", Organization: "example", Projects: []string{"shop"}, Repository: "example/shop"},
			aToken, api.Done,
		},
		{
			"sentry after a revert",
			Target{
				Service: "sentry", Organization: "example", Projects: []string{"shop", "api"},
				BaseURL: "https://sentry.example.com/", Environment: "staging", Version: "commit",
			},
			aToken, api.Reverted,
		},
	} {
		n.asked = nil
		if err := c.deliver(t.Context(), withSecret(t, test.to, test.secret), message(test.result)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		got.Files = append(got.Files, txtar.File{Name: test.name, Data: []byte(strings.Join(n.asked, "\n"))})
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(txtar.Format(want)), string(txtar.Format(got))); d != "" {
		t.Error(d)
	}
}

func TestATargetCanBeTested(t *testing.T) {
	n, c := newInternet(t)
	n.answer = ok
	for _, test := range []struct {
		to     Target
		secret string
	}{
		{Target{Service: "slack"}, slackURL},
		{Target{Service: "teams"}, teamsURL},
		{Target{Service: "discord"}, discordURL},
		{Target{Service: "webhook"}, "https://ops.example.com/x"},
		{Target{Service: "datadog", Site: "datadoghq.eu"}, aToken},
	} {
		n.asked = nil
		err := c.deliver(t.Context(), withSecret(t, test.to, test.secret),
			testMessage("shop", "web1", "chat", reported))
		if all := strings.Join(n.asked, ""); err != nil ||
			!strings.Contains(all, "shop: this is a test of notify.chat on web1. Nothing was changed.") {
			t.Errorf("%s: %v\n%s", test.to.Service, err, all)
		}
	}
	sent, err := Try(t.Context(), Options{App: "shop"}, *withSecret(t, Target{Service: "sentry"}, aToken))
	if sent || err != nil {
		t.Errorf("a marker was made: %v", err)
	}
	if _, err := Try(t.Context(), Options{App: "shop"},
		Target{Service: "webhook", URL: "http://127.0.0.1:1/"}); err == nil ||
		!strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
