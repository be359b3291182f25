package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

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
