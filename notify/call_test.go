package notify

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"superctl/api"
)

func TestTheAnswerDecidesAboutARetry(t *testing.T) {
	n, c := newInternet(t)
	sentry := Target{Service: "sentry", Organization: "example", Projects: []string{"shop"}}
	relic := Target{Service: "newrelic", Entity: "MTIz"}
	for _, test := range []struct {
		name, secret string
		to           Target
		status       int
		body         string
		after        string
		want         string // "" = delivered
	}{
		{"slack says ok", slackURL, Target{Service: "slack"}, 200, "ok", "", ""},
		{
			"slack says something else", slackURL,
			Target{Service: "slack"},
			200, "<html>log in</html>", "",
			"again: answered without ok: ",
		},
		{
			"slack refuses", slackURL,
			Target{Service: "slack"},
			404, "no_service", "",
			"never: answered 404 Not Found: no_service",
		},
		{
			"slack has enough", slackURL,
			Target{Service: "slack"},
			429, "rate_limited", "30",
			"again in 30s: answered 429 Too Many Requests: rate_limited",
		},
		{"slack is broken", slackURL, Target{Service: "slack"}, 503, "", "", "again: answered 503 Service Unavailable"},
		{"teams takes it", teamsURL, Target{Service: "teams"}, 202, "", "", ""},
		{
			"teams has failed and answers 200", teamsURL,
			Target{Service: "teams"},
			200,
			"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with " +
				"ContextId x", "", "again: answered Webhook message",
		},
		{
			"teams has refused and answers 200", teamsURL,
			Target{Service: "teams"},
			200,
			"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 400 with " +
				"ContextId x", "", "never: answered Webhook message",
		},
		{
			"discord has enough", discordURL,
			Target{Service: "discord"},
			429,
			`{"message": "You are being rate limited.", "retry_after": 0.5}`, "0.5", "again in 500ms: answered 429",
		},
		{
			"a webhook has moved", "https://ops.example.com/x",
			Target{Service: "webhook"},
			302, "", "",
			"never: answered 302 Found",
		},
		{
			"datadog does not know the key", aToken,
			Target{Service: "datadog"},
			403, `{"errors":["Forbidden"]}`, "",
			`never: answered 403 Forbidden: {"errors":["Forbidden"]}`,
		},
		{"sentry knows the release", aToken, sentry, 208, "{}", "", ""},
		{"sentry is busy", aToken, sentry, 500, "{}", "", "again: create the release: answered 500"},
		{
			"newrelic finds no entity", aToken, relic, 200,
			`{"data":{"changeTrackingCreateEvent":null},"errors":[{"message":"no ` +
				`entity","extensions":{"errorClass":"INVALID_INPUT"}}]}`, "",
			"never: answered with an error: no entity",
		},
		{
			"newrelic is late", aToken, relic, 200,
			`{"errors":[{"message":"too late","extensions":{"errorClass":"TIMEOUT"}}]}`, "",
			"again: answered with an error: too late",
		},
		{
			"newrelic has made nothing", aToken, relic, 200,
			`{"data":{"changeTrackingCreateEvent":{"changeTrackingEvent":null,"messages":["it is the wrong kind"]}}}`,
			"", "never: answered, but created no event: it is the wrong kind",
		},
		{"newrelic answers a page", aToken, relic, 200, `<html>`, "", "again: the answer is not JSON"},
	} {
		n.answer = func(w http.ResponseWriter, _ *http.Request) {
			if test.after != "" {
				w.Header().Set("Retry-After", test.after)
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}
		err := c.deliver(t.Context(), withSecret(t, test.to, test.secret), message(api.Done))
		if got := verdict(err); got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func verdict(err error) string {
	if err == nil {
		return ""
	}
	var f *failure
	switch {
	case errors.As(err, &f) && f.permanent:
		return "never: " + err.Error()
	case f != nil && f.after > 0:
		return fmt.Sprintf("again in %s: %v", f.after, err)
	}
	return "again: " + err.Error()
}
