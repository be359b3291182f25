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
	dialTimeout   = 10 * time.Second
	answerLimit   = 64 << 10 // bytes of an answer that are read
	excerptLength = 200      // characters of an answer that are shown if it explains a refusal
)

// failure is an answer other than success. Every other error is worth another attempt.
type failure struct {
	why       string
	permanent bool          // the same request would be refused again
	after     time.Duration // how long the service asks to wait
}

func (f *failure) Error() string { return f.why }

// caller makes the calls to all services.
type caller struct {
	http  *http.Client
	agent string
	now   func() time.Time

	credentials string // systemd's credentials directory
}

// newCaller returns a caller with the proxies of the environment. An idle daemon keeps no
// connections, and a redirected POST is not followed.
func newCaller(version, credentials string) *caller {
	limitShoutrrr()
	return &caller{
		credentials: credentials,
		agent:       "superctl/" + version, now: time.Now,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
				TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true, MaxResponseHeaderBytes: answerLimit,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// deliver sends a message to a target. Its error contains no secret.
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

// answer is the response of a service.
type answer struct {
	status int
	body   string
}

// post sends JSON. An answer other than success is a *failure.
func (c *caller) post(ctx context.Context, to string, headers map[string]string, body any) (*answer, error) {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // the text is not put into a web page
	if err := enc.Encode(body); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, &data)
	if err != nil {
		return nil, errors.New("the URL cannot be called") // the original error contains the URL
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
	defer res.Body.Close()
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

// withoutURL unwraps an error of net/http, which contains the URL: a secret.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// failure describes a refused call.
func (a *answer) failure(h http.Header) *failure {
	f := &failure{why: fmt.Sprintf("answered %d %s", a.status, http.StatusText(a.status)), permanent: true}
	switch {
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests,
		a.status >= 500:
		f.permanent = false
	}
	if said := excerpt(a.body); said != "" {
		f.why += ": " + said
	}
	f.after = retryAfter(h.Get("Retry-After"), time.Now())
	return f
}

// retryAfter parses the header of that name: seconds (with fractions for Discord) or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// excerpt returns the beginning of an answer if it is plain text, and "" for an HTML page.
func excerpt(body string) string {
	body = strings.Join(strings.Fields(strings.ToValidUTF8(body, "?")), " ")
	if strings.HasPrefix(body, "<") {
		return ""
	}
	if runes := []rune(body); len(runes) > excerptLength {
		body = string(runes[:excerptLength]) + "..."
	}
	return body
}
