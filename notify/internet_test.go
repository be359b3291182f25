package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
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

	"superctl/api"
)

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
