package health

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judge compares an answer with what the check requires.
func (c *Check) judge(resp *http.Response, body []byte, took time.Duration) Result {
	r := Result{Answered: true, Status: resp.StatusCode}
	switch {
	case !c.healthy(resp.StatusCode):
		r.Reason = c.reason("%s%s", status(resp.StatusCode), c.advice(resp))
	case c.Contains != "" && !bytes.Contains(body, []byte(c.Contains)):
		r.Reason = c.reason("%s, but the answer does not contain %q%s", status(resp.StatusCode), c.Contains, unseen(resp, body))
	case c.MaxLatency > 0 && took > c.MaxLatency:
		r.Reason = c.reason("%s after %s, and health.max_latency is %s",
			status(resp.StatusCode), took.Round(time.Millisecond), c.MaxLatency)
	default:
		r.OK = true
	}
	return r
}

// unseen returns why text that the app sent may not have been found.
func unseen(resp *http.Response, body []byte) string {
	switch encoding := resp.Header.Get("Content-Encoding"); {
	case encoding != "":
		return fmt.Sprintf(": it is compressed (%s), although the request does not accept that", printable(encoding))
	case len(body) >= bodyLimit:
		return fmt.Sprintf(" in its first %d KiB", bodyLimit>>10)
	}
	return ""
}

// healthy reports whether a status is healthy. Unless they are listed, a redirect is not, and
// neither is 400 where no path is configured: both can come from a layer in front of the app's own
// code (Django's SecurityMiddleware, APPEND_SLASH, ALLOWED_HOSTS), and a release whose every page
// is broken returns them too.
func (c *Check) healthy(status int) bool {
	switch {
	case len(c.Status) > 0:
		return slices.Contains(c.Status, status)
	case isRedirect(status):
		return false
	case c.AnyAnswer:
		return status < 500 && status != http.StatusBadRequest
	default:
		return status >= 200 && status < 300
	}
}

func isRedirect(status int) bool { return status >= 300 && status < 400 }

// advice returns what to change first, judging from the answer.
func (c *Check) advice(resp *http.Response) string {
	text := ""
	if len(c.Status) > 0 {
		text = fmt.Sprintf(", and health.status wants %s", list(c.Status))
	}
	if resp.StatusCode == http.StatusNotModified {
		return text + ": the app takes the answer for cached; set health.path to a page that is not"
	}
	if isRedirect(resp.StatusCode) {
		return c.redirectTarget(resp) + text + ": " + c.redirectAdvice(resp)
	}
	if why := c.rejectionAdvice(resp.StatusCode); why != "" {
		text += ": " + why
	}
	return text
}

// rejectionAdvice returns the advice for an answer by which a server or a framework rejects the
// request.
func (c *Check) rejectionAdvice(code int) string {
	switch {
	case code == http.StatusBadRequest && c.protocol() == "uwsgi":
		return `does the server speak HTTP rather than uwsgi? set health.protocol = "http"`
	case code == http.StatusBadRequest && c.Host == "":
		return `the app may reject the Host "localhost": set health.host to a name that it serves ` +
			"(in Django one of ALLOWED_HOSTS)"
	case code == http.StatusBadRequest:
		return fmt.Sprintf("the app may reject the Host %q (health.host): in Django add it to ALLOWED_HOSTS", c.Host)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return "the page requires a login: set health.path to a page that does not, " +
			"or health.headers to the credentials that it accepts"
	case code == http.StatusNotFound:
		return "the release has no such page: set health.path to a page that exists"
	}
	return ""
}

// redirectTarget returns the target of a redirect without its query, which may hold a secret such
// as a token.
func (c *Check) redirectTarget(resp *http.Response) string {
	to := location(resp)
	if to == nil {
		return ""
	}
	short := url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}
	return " to " + printable(short.String())
}

func location(resp *http.Response) *url.URL {
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil
	}
	return to
}

// redirectAdvice infers the cause of a redirect from the difference between the request and the
// target.
func (c *Check) redirectAdvice(resp *http.Response) string {
	const otherwise = "a redirect proves nothing; set health.path to a page that answers without one"
	to := location(resp)
	if to == nil {
		return otherwise
	}
	if set := c.settingsFor(to); len(set) > 0 {
		return "a redirect proves nothing; set " + strings.Join(set, " and ")
	}
	switch path, toPath := c.path(), cmp.Or(to.Path, "/"); {
	case to.Scheme == "https" && toPath == path:
		return "the app does not believe that the request came over HTTPS: it must trust X-Forwarded-Proto " +
			"(Django: SECURE_PROXY_SSL_HEADER), or set health.headers to the header that it trusts"
	case isLoginPage(to):
		return "the redirect to a login page proves nothing; set health.path to a page without a login"
	}
	return otherwise
}

// settingsFor returns the settings with which the check would ask for the target of a redirect
// itself: the same page with another scheme, host, or slash at its end.
func (c *Check) settingsFor(to *url.URL) (set []string) {
	path, toPath := c.path(), cmp.Or(to.Path, "/")
	if strings.Trim(toPath, "/") != strings.Trim(path, "/") {
		return nil
	}
	if to.Scheme == "https" && c.Scheme != "https" {
		set = append(set, `health.scheme = "https"`)
	}
	if to.Host != "" && !strings.EqualFold(to.Hostname(), hostname(c.host())) {
		set = append(set, fmt.Sprintf("health.host = %q", to.Hostname()))
	}
	if toPath != path {
		set = append(set, fmt.Sprintf("health.path = %q", printable(toPath)))
	}
	return set
}

// path returns the path of the page that is asked for, without its query.
func (c *Check) path() string {
	path, _, _ := strings.Cut(cmp.Or(c.Path, "/"), "?")
	return path
}

func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// isLoginPage reports whether a redirect leads to a login page.
func isLoginPage(to *url.URL) bool {
	path := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(to.Path))
	for _, word := range []string{"login", "signin", "logon", "auth", "sso", "saml"} {
		if strings.Contains(path, word) {
			return true
		}
	}
	return to.Query().Has("next")
}

func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

func list(codes []int) string {
	words := make([]string, len(codes))
	for i, code := range codes {
		words[i] = strconv.Itoa(code)
	}
	return strings.Join(words, " or ")
}
