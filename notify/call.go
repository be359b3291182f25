package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTime    = 10 * time.Second
	answerLimit = 64 << 10 // of an answer are read
	answerShown = 200      // and shown, if it says why something was refused
)

// failure is an answer that is no success. All other errors are worth another attempt.
type failure struct {
	why       string
	permanent bool          // the same again would be refused again
	after     time.Duration // that the service asks us to wait
}

func (f *failure) Error() string { return f.why }

// caller makes the calls of all services.
type caller struct {
	http  *http.Client
	agent string
	now   func() time.Time

	credentials string // directory of systemd's
}

// newCaller makes one with proxies as the environment says. An idle daemon keeps no connection, and a redirect of a POST is nothing
// that can be followed.
func newCaller(version, credentials string) *caller {
	boundShoutrrr()
	return &caller{
		credentials: credentials,
		agent:       "superctl/" + version, now: time.Now,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
				TLSHandshakeTimeout: dialTime, DisableKeepAlives: true, MaxResponseHeaderBytes: answerLimit,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// deliver sends one message to one target. Its error has no secret in it.
func (c *caller) deliver(ctx context.Context, t *Target, m *Message) error {
	secret, err := t.read(c.credentials)
	if err != nil {
		return err
	}
	err = serviceOf(t.Service).send(ctx, c, t, secret, m)
	if err == nil {
		return nil
	}
	text := redact(err.Error(), secret)
	var f *failure
	if errors.As(err, &f) {
		return &failure{why: text, permanent: f.permanent, after: f.after}
	}
	return errors.New(text)
}

// answer is what a service has said to a call that went well.
type answer struct {
	status int
	body   string
}

// post sends JSON. An answer that is no success is a *failure.
func (c *caller) post(ctx context.Context, to string, headers map[string]string, body any) (*answer, error) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // nobody puts it into a page
	if err := enc.Encode(body); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, &data)
	if err != nil {
		return nil, errors.New("the URL cannot be called") // the error has the URL in it
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.agent)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was for reading only
	text, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", withoutURL(err))
	}
	a := &answer{res.StatusCode, string(text)}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, a.failure(res.Header)
	}
	return a, nil
}

// withoutURL takes off what net/http puts around an error: the URL, which is a secret.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// failure says what became of a call that was refused.
func (a *answer) failure(h http.Header) *failure {
	f := &failure{why: fmt.Sprintf("answered %d %s", a.status, http.StatusText(a.status)), permanent: true}
	switch {
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests, a.status >= 500:
		f.permanent = false
	}
	if said := shown(a.body); said != "" {
		f.why += ": " + said
	}
	f.after = retryAfter(h.Get("Retry-After"), time.Now())
	return f
}

// retryAfter reads the header of that name: seconds (Discord has fractions of them) or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// shown is the beginning of an answer, if it is text for people: a page of HTML is none.
func shown(body string) string {
	body = strings.Join(strings.Fields(strings.ToValidUTF8(body, "?")), " ")
	if strings.HasPrefix(body, "<") {
		return ""
	}
	if runes := []rune(body); len(runes) > answerShown {
		body = string(runes[:answerShown]) + "..."
	}
	return body
}
