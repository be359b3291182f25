package install

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// redirects is the maximum number of redirects of a download.
const redirects = 5

// web is a file at https:// or http://.
type web struct {
	o      *Options
	client *http.Client
	url    *url.URL
}

func (s *web) String() string { return shown(s.url) }

// shown returns a URL without secrets: without the password, and without the query, which has the
// signature of a presigned URL.
func shown(u *url.URL) string {
	short := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return short.String()
}

// webClient returns a client that uses proxies from the environment. Without a signature only TLS
// proves a bundle's origin, so plain HTTP is for this machine only.
func (o *Options) webClient(u *url.URL) (*http.Client, error) {
	if u.Hostname() == "" {
		return nil, &SourceError{fmt.Errorf("%s has no host", shown(u))}
	}
	if err := o.mayFetch(u); err != nil {
		return nil, &SourceError{err}
	}
	return &http.Client{
		Transport: o.transport(),
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			req.Header.Del("Referer") // it would leak the query to another server
			if len(via) > redirects {
				return &finalError{fmt.Errorf("more than %d redirects", redirects)}
			}
			if err := o.mayFetch(req.URL); err != nil {
				return &finalError{fmt.Errorf("redirect: %w", err)}
			}
			return nil
		},
	}, nil
}

// mayFetch refuses a URL whose content could be tampered with in transit.
func (o *Options) mayFetch(u *url.URL) error {
	switch {
	case strings.EqualFold(u.Scheme, "https"), len(o.Keys) > 0 && strings.EqualFold(u.Scheme, "http"),
		u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case !strings.EqualFold(u.Scheme, "http"):
		return fmt.Errorf("%s is neither https:// nor http://", shown(u))
	}
	return fmt.Errorf("%s: http:// can be tampered with in transit: use https://, "+
		"or have bundles signed and name the key in [trust]",
		shown(u))
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (s *web) open(ctx context.Context, from int64, tag string) (*stream, error) {
	w := s.o.watch(ctx)
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, s.url.String(), http.NoBody)
	if err != nil {
		w.stop()
		return nil, &finalError{err}
	}
	req.Header.Set("User-Agent", "superctl")
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		req.Header.Set("If-Range", tag)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		err = w.explain(withoutAddress(err))
		w.stop()
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	out := &stream{ReadCloser: w.body(resp.Body), size: resp.ContentLength, tag: validator(resp.Header)}
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		return s.resumed(resp, out, from)
	case resp.StatusCode == http.StatusOK:
		return out, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0:
		if err := out.Close(); err != nil {
			return nil, err
		}
		return s.open(ctx, 0, "")
	}
	return nil, errors.Join(s.refused(resp), out.Close())
}

// resumed makes the stream of an answer that begins at an offset.
func (s *web) resumed(resp *http.Response, out *stream, from int64) (*stream, error) {
	_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &out.from)
	if err != nil || out.from != from {
		wrong := fmt.Errorf("%s: the server sent another part than requested", s)
		return nil, errors.Join(&finalError{wrong}, out.Close())
	}
	if out.size >= 0 {
		out.size += from
	}
	return out, nil
}

// refused translates an answer that is not the file.
func (s *web) refused(resp *http.Response) error {
	err := fmt.Errorf("%s: the server answered %s", s, resp.Status)
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone:
		return missing(err)
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return err
	}
	return &finalError{err}
}

// validator returns what distinguishes versions of a file (RFC 9110, 13.1.5): a strong ETag, or the
// time of the last change.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// withoutAddress removes the URL that the HTTP client puts into its errors, because it may contain
// secrets.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
