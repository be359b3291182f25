// Package maintenance is the server of the page that users get while a site is in maintenance.
//
// It serves listeners that it inherits, and answers every request with the status 503, a page and a
// Retry-After header. It speaks HTTP/1.1 and, for uwsgi_pass, the uwsgi protocol. It reads no request
// body, keeps no connection open, and knows nothing of the site.
package maintenance

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"superctl/api"
)

// DefaultRetryAfter is how long clients are told to wait when nothing else is said.
const DefaultRetryAfter = 10 * time.Minute

//go:embed default.html
var defaultPage []byte

// Page is the answer to every request.
type Page struct {
	Body       []byte        // HTML
	RetryAfter time.Duration // of the Retry-After header, which has whole seconds; at least 1 s is sent
}

// ReadPage reads a page from a file, once. An empty path is the default page. An empty file, one that
// is larger than api.MaintenancePageLimit, and one that is not a regular file are errors.
func ReadPage(path string) ([]byte, error) {
	if path == "" {
		return defaultPage, nil
	}
	// A pipe without a writer would block the open for ever.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadPageFrom(f, path)
}

// ReadPageFrom reads a page to its end. Name is what errors call it. An empty page, and one that is
// larger than api.MaintenancePageLimit, are errors.
func ReadPageFrom(r io.Reader, name string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, api.MaintenancePageLimit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(body) > api.MaintenancePageLimit:
		return nil, fmt.Errorf("%s is larger than %d KiB, the limit of a maintenance page", name, api.MaintenancePageLimit>>10)
	case len(body) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	}
	return body, nil
}

// ServeHTTP answers a request. It does not look at the request, but for its method: a HEAD gets no
// body.
func (p Page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.Body)))
	h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(p.RetryAfter.Seconds())))))
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close") // the client's next request reaches the site as soon as that is back
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(p.Body) // the client may have hung up; net/http sends none for a HEAD
}
