package health

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestARedirectProvesNothingAndItsCauseIsNamed(t *testing.T) {
	path := func(p string) func(*Check) { return func(c *Check) { c.Path = p } }
	for name, tc := range map[string]struct {
		location string
		change   func(*Check)
		says     string
	}{
		"SSL redirect":       {"https://localhost/healthz/", nil, `; set health.scheme = "https"`},
		"SSL redirect, path": {"https:///healthz/", nil, `; set health.scheme = "https"`},
		"SSL redirect without a path": {
			"https://localhost/", func(c *Check) { c.Path, c.AnyAnswer = "/", true }, `; set health.scheme = "https"`,
		},
		"SSL redirect although https": {
			"https://localhost/healthz/", func(c *Check) { c.Scheme = "https" }, "SECURE_PROXY_SSL_HEADER",
		},
		"trailing slash":    {"/healthz/", path("/healthz"), `; set health.path = "/healthz/"`},
		"no trailing slash": {"/healthz", nil, `; set health.path = "/healthz"`},
		"slash and query":   {"/healthz/?full=1", path("/healthz?full=1"), `; set health.path = "/healthz/"`},
		"SSL and slash": {
			"https://localhost/healthz/", path("/healthz"),
			`health.scheme = "https" and health.path = "/healthz/"`,
		},
		"another host": {
			"http://www.shop.example/healthz/", func(c *Check) { c.Host = "shop.example" },
			`; set health.host = "www.shop.example"`,
		},
		"SSL on another host": {
			"https://www.shop.example/healthz/", nil,
			`health.scheme = "https" and health.host = "www.shop.example"`,
		},
		"login page":     {"/accounts/login/?next=/healthz/", nil, "a page without a login"},
		"single sign-on": {"https://id.example/oauth2/authorize?client_id=1", nil, "a page without a login"},
		"somewhere":      {"/de/", nil, "set health.path to a page that answers without one"},
		"no location":    {"", nil, "set health.path to a page that answers without one"},
		"a status that is given": {
			"/healthz/", func(c *Check) { c.Path, c.Status = "/healthz", []int{200} },
			`health.status wants 200: a redirect proves nothing; set health.path = "/healthz/"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := check()
			if tc.change != nil {
				tc.change(&c)
			}
			answer := "HTTP/1.1 301 Moved Permanently\r\n"
			if tc.location != "" {
				answer += "Location: " + tc.location + "\r\n"
			}
			r := c.Run(t.Context(), server(answer+"Content-Length: 0\r\n\r\n", nil))
			if r.OK || !r.Answered || !strings.Contains(r.Reason, tc.says) {
				t.Errorf("%+v does not say %q", r, tc.says)
			}
		})
	}
}

func TestTheQueryOfARedirectIsNotShown(t *testing.T) {
	answer := "HTTP/1.1 302 Found\r\nLocation: /x?token=s3cret\r\nContent-Length: 0\r\n\r\n"
	r := check().Run(t.Context(), server(answer, nil))
	if strings.Contains(r.Reason, "s3cret") || !strings.Contains(r.Reason, "302 Found to /x: ") {
		t.Error(r.Reason)
	}
}

func TestARejectedRequestNamesTheKey(t *testing.T) {
	for answer, says := range map[string]string{
		"400 Bad Request":  "set health.host to a name that it serves (in Django one of ALLOWED_HOSTS)",
		"401 Unauthorized": "health.headers",
		"403 Forbidden":    "set health.path to a page that does not",
		"404 Not Found":    "set health.path to a page that exists",
	} {
		r := check().Run(t.Context(), server("HTTP/1.1 "+answer+"\r\nContent-Length: 0\r\n\r\n", nil))
		if r.OK || !strings.Contains(r.Reason, answer) || !strings.Contains(r.Reason, says) {
			t.Errorf("%s: %q does not say %q", answer, r.Reason, says)
		}
	}
	c := check()
	c.Host = "shop.example"
	r := c.Run(t.Context(), server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", nil))
	if !strings.Contains(r.Reason, `"shop.example" (health.host): in Django add it to ALLOWED_HOSTS`) {
		t.Error(r.Reason)
	}
}

func TestAnAnswerThatIsTooLateIsNotHealthy(t *testing.T) {
	c := check()
	c.MaxLatency = 500 * time.Millisecond
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	defer answer.Body.Close()
	ok := c.judge(answer, nil, 400*time.Millisecond)
	late := c.judge(answer, nil, 600*time.Millisecond)
	if !ok.OK || late.OK || late.Reason != "GET /healthz/: 200 OK after 600ms, and health.max_latency is 500ms" {
		t.Errorf("%+v, %+v", ok, late)
	}
}
