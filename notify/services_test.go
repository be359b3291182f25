package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
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

// internet is a server that stands in for every host, and the requests that it got.
type internet struct {
	*httptest.Server
	asked  []string
	answer func(w http.ResponseWriter, r *http.Request)
}

func newInternet(t *testing.T) (*internet, *caller) {
	t.Helper()
	n := &internet{}
	n.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked = append(n.asked, n.describe(t, r))
		n.answer(w, r)
	}))
	t.Cleanup(n.Close)
	c := newCaller("1.0", "")
	c.now = func() time.Time { return reported.Add(2 * time.Second) }
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, n.Listener.Addr().String())
		},
		// it has a certificate for example.com only
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}
	return n, c
}

// describe returns a request as text, with its body indented.
func (n *internet) describe(t *testing.T, r *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s https://%s%s\n", r.Method, r.Host, r.URL.RequestURI())
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range r.Header {
			if !slices.Contains([]string{"Accept-Encoding", "Content-Length", "Connection"}, name) && !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %s\n", name, r.Header.Get(name))
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	var body bytes.Buffer
	if err := json.Indent(&body, data, "", "  "); err != nil {
		t.Errorf("the body is not JSON: %v\n%s", err, data)
	}
	fmt.Fprintf(&b, "\n%s\n", &body)
	return b.String()
}

// ok answers as each service does on success.
func ok(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host == "hooks.slack.com":
		fmt.Fprint(w, "ok")
	case strings.HasSuffix(r.Host, "newrelic.com"):
		fmt.Fprint(w,
			`{"data":{"changeTrackingCreateEvent":{"changeTrackingEvent":{"changeTrackingId":"1"},"messages":[]}}}`)
	case strings.HasSuffix(r.Host, "datadoghq.eu"), strings.HasSuffix(r.Host, "powerplatform.com"):
		w.WriteHeader(http.StatusAccepted)
	}
}

const (
	slackURL   = "https://hooks.slack.com/services/T0/B0/XXXXXXXXXXXX"
	teamsURL   = "https://default0123.45.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/abcdef/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=SIGNATURE0123"
	discordURL = "https://discord.com/api/webhooks/123456789012345678/TOKEN-abc_def-0123456789"
	aToken     = "token-0123456789abcdef"
)

// withSecret writes a secret to a file, and returns the target with it.
func withSecret(t *testing.T, to Target, secret string) *Target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to.Name, to.URLFile = "x", path // deliver finds it under any of the keys
	return &to
}

// past returns the outcome of a finished change.
func past(result api.Result) api.Outcome {
	at := time.Date(2026, 11, 23, 3, 4, 5, 6, time.UTC)
	out := api.Outcome{
		Kind: "switch", Result: result, Release: "2026-11-23", Commit: "9f3c2ab1de00aa", Previous: "2026-11-20",
		PreviousCommit: "1111111111ff",
		Who:            "alice", Origin: api.Origin{From: "203.0.113.7"}, Started: at, Seconds: 3.9, Generation: 2,
		Steps: []api.Step{{Name: "cutover", Began: at, Detail: "0.1 ms", Output: []string{"much"}}},
	}
	if result == api.Reverted || result == api.Aborted {
		out.Error = "probation: web.0 ended after 2s: exit code 3 <traceback> & more\nsecond line"
		out.Log = []string{"ModuleNotFoundError: No module named 'x'"}
	}
	return out
}

func message(result api.Result) *Message {
	return newMessage("shop", "web1", past(result), reported)
}

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

func TestNoErrorContainsTheSecret(t *testing.T) {
	n, c := newInternet(t)
	n.answer = func(w http.ResponseWriter, r *http.Request) { // a broken server that echoes the request
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "cannot %s %s with %s", r.Method, r.URL, r.Header)
	}
	cases := map[string]Target{
		slackURL: {Service: "slack"}, teamsURL: {Service: "teams"}, discordURL: {Service: "discord"},
		"https://ops.example.com/SECRETPATH": {Service: "webhook"},
		aToken:                               {Service: "datadog"},
		"token-for-the-hook-0123":            {Service: "webhook", URL: "https://ops.example.com/"},
		"slack://hook:TAAAAAAAA-BAAAAAAAA-XXXXXXXXXXXXXXXXXXXXXXXX@webhook": {Service: "slack"},
		"ntfy://someone:SECRETWORD@127.0.0.1:1/SECRETTOPIC?scheme=http":     {Service: "shoutrrr"},
	}
	pieces := []string{
		"XXXXXXXX", "SIGNATURE", "TOKEN-abc", "SECRETPATH", "0123456789abcdef", "token-for-the-hook",
		"SECRETWORD", "SECRETTOPIC",
	}
	for _, broken := range []bool{false, true} {
		if broken {
			c.http.Transport = &http.Transport{
				Proxy: http.ProxyURL(nil),
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					return nil, errors.New("dial: no such host")
				},
			}
		}
		for secret, to := range cases {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if strings.HasPrefix(secret, "slack://") {
				cancel() // it would call the real service
			}
			err := c.deliver(ctx, withSecret(t, to, secret), message(api.Done))
			cancel()
			if err == nil {
				t.Errorf("%s: delivered", to.Service)
				continue
			}
			for _, p := range pieces {
				if strings.Contains(err.Error(), p) {
					t.Errorf("%s: %v", to.Service, err)
				}
			}
		}
	}
}

func TestAnInvalidSecretIsReportedWithoutIt(t *testing.T) {
	for _, test := range []struct{ service, secret, want string }{
		{"slack", slackURL, ""},
		{
			"slack", "https://example.com/services/A/B/C",
			"not a webhook URL of the service, such as https://hooks.slack.com/services/T.../B.../...",
		},
		{"slack", "xoxb-token", "not a webhook URL of the service"},
		{"slack", slackURL + "\nsecond", "more than one line"},
		{"slack", "", "is empty"},
		{"teams", teamsURL, ""},
		{"teams", "http://example.com/x", "not a webhook URL of the service"},
		{"discord", discordURL, ""},
		{"discord", "https://ptb.discord.com/api/v10/webhooks/1/x", ""},
		{"discord", "https://discord.gg/invite", "not a webhook URL of the service"},
		{"discord", "discord://token@123", ""},
		{"webhook", "http://127.0.0.1:9000/x", ""},
		{"webhook", "ops.example.com/SECRET", "not a URL that begins with https://"},
		{"sentry", aToken, ""},
		{"sentry", "Bearer SECRET", "not a token"},
		{"shoutrrr", "ntfy://ntfy.sh/topic", ""},
		{"shoutrrr", "matrix://user:SECRET@example.com", ""},
		{"shoutrrr", "ntfy//SECRET", "not a shoutrrr URL"},
		{"shoutrrr", "carrier://SECRET", `shoutrrr knows no service "carrier"; it has: bark, discord,`},
		{"shoutrrr", "smtp://user:SECRET@host/", `for mail write service = "email"`},
		{"shoutrrr", "discord://SECRET", "not a shoutrrr URL for discord"},
	} {
		_, err := withSecret(t, Target{Service: test.service}, test.secret).Check("")
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, test.want) || (text == "") != (test.want == "") || strings.Contains(text, "SECRET") {
			t.Errorf("%s %q: %q, want %q", test.service, test.secret, text, test.want)
		}
	}
	if _, err := (&Target{Service: "slack", Credential: "hook"}).Check(""); err == nil ||
		!strings.Contains(err.Error(), "LoadCredential=hook:/etc/shop/hook") {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hook"), []byte(slackURL), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := (&Target{Service: "slack", Credential: "hook"}).Check(dir); err != nil ||
		text != filepath.Join(dir, "hook") {
		t.Errorf("%q %v", text, err)
	}
	if _, err := (&Target{Service: "slack", URLFile: dir}).Check(""); err == nil ||
		!strings.Contains(err.Error(), "is not a file") {
		t.Errorf("%v", err)
	}
}

func TestTheSentenceOfEachEvent(t *testing.T) {
	first, reload, refused := past(api.Reverted), past(api.Done), past(api.Aborted)
	first.Previous, first.PreviousCommit = "", ""
	reload.Kind, reload.Previous, reload.PreviousCommit = "reload", reload.Release, reload.Commit
	refused.Release, refused.Commit = "", ""
	broken, worse := past(api.Aborted), past(api.Reverted)
	broken.Kind, broken.Release, broken.Commit, broken.Error = "reload", "", "", "resolve: shop.toml:3:1: it is wrong."
	worse.Kind, worse.Previous, worse.PreviousCommit, worse.Error = "reload", worse.Release, worse.Commit,
		"probation: no"
	at := reported
	for _, test := range []struct {
		out  api.Outcome
		want string
	}{
		{
			past(""),
			"shop: switching to 2026-11-23 (9f3c2ab1de) from 2026-11-20 (1111111111) (switch by alice from " +
				"203.0.113.7, on web1).",
		},
		{
			past(api.Done),
			"shop: 2026-11-23 (9f3c2ab1de) is live, replacing 2026-11-20 (1111111111) (switch by alice from " +
				"203.0.113.7, on web1, took 3.9 s).",
		},
		{
			past(api.Aborted),
			"shop: 2026-11-23 (9f3c2ab1de) was REFUSED, 2026-11-20 (1111111111) is still live: probation: web.0 " +
				"ended after 2s: exit code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on " +
				"web1, " +
				"after 3.9 s).",
		},
		{
			first,
			"shop: 2026-11-23 (9f3c2ab1de) was REVERTED, nothing is live: probation: web.0 ended after 2s: exit " +
				"code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			reload,
			"shop: 2026-11-23 (9f3c2ab1de) runs with the current config (reload by alice from 203.0.113.7, on web1, " +
				"took 3.9 s).",
		},
		{
			broken,
			"shop: the new config was REFUSED, 2026-11-20 (1111111111) runs with the previous one: resolve: " +
				"shop.toml:3:1: it is wrong (reload by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			worse,
			"shop: the new config was REVERTED, 2026-11-23 (9f3c2ab1de) runs with the previous one again: " +
				"probation: no (reload by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			refused,
			"shop: the switch was REFUSED, 2026-11-20 (1111111111) is still live: probation: web.0 ended after 2s: " +
				"exit code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			maintenance(api.MaintenanceOn, api.Done),
			"shop: users get the maintenance page (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOff, api.Done),
			"shop: maintenance is over, users reach r1 (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOn, api.Aborted),
			"shop: the maintenance page could not be shown, users reach r1: no (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOff, api.Aborted),
			"shop: users STILL GET the maintenance page: no (maintenance by anna, on web1).",
		},
		{health(api.HealthDown), "shop is DOWN on web1: web: 0 of 2 ready: web.0 ended after 2s: exit code 3."},
		{
			health(api.HealthDegraded),
			"shop is degraded on web1, r1 serves: web: 0 of 2 ready: web.0 ended after 2s: exit code 3.",
		},
		{
			api.Outcome{
				Kind: api.CronKind, Result: api.Aborted, Command: "clear-sessions", Release: "r1", Error: "exit code 3", Seconds: 3.9,
				Started: reported,
			},
			"shop: the scheduled command clear-sessions FAILED on web1: exit code 3 (in r1, after 3.9 s).",
		},
		{
			api.Outcome{
				Kind: api.CronKind, Result: api.Aborted, Command: "clear-sessions", Release: "r1",
				Error: "the daemon ended before it had recorded the end of the run", Started: reported,
			},
			"shop: the scheduled command clear-sessions FAILED on web1: the daemon ended before it had recorded the end of the run (in r1).",
		},
		{health(api.HealthOK), "shop is ok again on web1: r1 serves (the problem lasted 3 min 20 s)."},
	} {
		m := newMessage("shop", "web1", test.out, at)
		if m.Text != test.want {
			t.Errorf("%s\nwant\n%s", m.Text, test.want)
		}
		if got := m.text(at.Add(time.Minute)); got != m.Text {
			t.Error(got)
		}
		if got := m.text(at.Add(time.Hour)); got != m.Text+" This was at 2026-11-23 03:04:09 UTC; it could not be "+
			"sent before." {
			t.Error(got)
		}
	}
}

func health(is string) api.Outcome {
	return api.Outcome{
		Kind: api.HealthKind, Result: api.Result(is), Release: "r1",
		Error: "web: 0 of 2 ready: web.0 ended after 2s: exit code 3", Seconds: 200,
		Started: reported,
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

// maintenance is the outcome of superctl maintenance on or off.
func maintenance(what string, result api.Result) api.Outcome {
	out := api.Outcome{
		Kind: string(api.Maintenance), Maintenance: what, Result: result, Release: "r1", Previous: "r1", Who: "anna",
	}
	if result != api.Done {
		out.Error = "no"
	}
	return out
}
