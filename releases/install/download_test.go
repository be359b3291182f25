package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/releases"
)

// server serves one file with faults. Each request gets the next of its behaviours; after them it
// works properly.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	content []byte
	tag     string // "" = without ETag and ranges
	next    []func(w http.ResponseWriter, r *http.Request, s *server)
	ranges  []string // of each request
}

func serve(t *testing.T, next ...func(http.ResponseWriter, *http.Request, *server)) *server {
	t.Helper()
	s := &server{content: make([]byte, 1<<20), tag: `"one"`, next: next}
	fill(s.content, 1)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		if len(s.next) > 0 {
			behave := s.next[0]
			s.next = s.next[1:]
			behave(w, r, s)
			return
		}
		well(w, r, s)
	}))
	t.Cleanup(s.Close)
	return s
}

func fill(b []byte, seed byte) { _, _ = rand.NewChaCha8([32]byte{seed}).Read(b) }

func well(w http.ResponseWriter, r *http.Request, s *server) {
	if s.tag == "" {
		r.Header.Del("Range")
		w.Header().Set("Content-Length", fmt.Sprint(len(s.content)))
		_, _ = w.Write(s.content)
		return
	}
	w.Header().Set("ETag", s.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

// cut closes the connection after some bytes.
func cut(after int) func(http.ResponseWriter, *http.Request, *server) {
	return func(w http.ResponseWriter, r *http.Request, s *server) {
		well(&short{ResponseWriter: w, left: after}, r, s)
		panic(http.ErrAbortHandler)
	}
}

// short is a response of limited length.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	n := min(s.left, len(p))
	s.left -= n
	if _, err := s.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	if n < len(p) {
		return n, errors.New("cut")
	}
	return n, nil
}

func status(code int) func(http.ResponseWriter, *http.Request, *server) {
	return func(w http.ResponseWriter, _ *http.Request, _ *server) { w.WriteHeader(code) }
}

func silence(_ http.ResponseWriter, r *http.Request, _ *server) { <-r.Context().Done() }

// get downloads the file at address.
func get(t *testing.T, o *Options, address string) ([]byte, error) {
	t.Helper()
	defaults(o)
	s, _, err := o.sources(address)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "incoming"))
	must(t, err)
	defer f.Close()
	if err := o.download(t.Context(), s, f, func(int64, int64) {}); err != nil {
		return nil, err
	}
	return os.ReadFile(f.Name())
}

func TestADownloadThatIsCutGoesOnWhereItWas(t *testing.T) {
	s := serve(t, cut(300_000), status(http.StatusServiceUnavailable), cut(1), cut(400_000), cut(0),
		status(http.StatusTooManyRequests))
	o := options(t)
	got, err := get(t, &o, s.URL+"/shop.tar.zst")
	if err != nil || !bytes.Equal(got, s.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	const want = "|bytes=300000-|bytes=300000-|bytes=300001-|bytes=700001-|bytes=700001-|bytes=700001-"
	if strings.Join(s.ranges, "|") != want {
		t.Errorf("asked for %q", s.ranges)
	}
}

func TestAFileThatHasChangedIsFetchedAgain(t *testing.T) {
	change := func(w http.ResponseWriter, r *http.Request, s *server) {
		s.content, s.tag = s.content[:200_000], `"two"`
		fill(s.content, 2)
		well(w, r, s)
	}
	s := serve(t, cut(300_000), change)
	o := options(t)
	if got, err := get(t, &o, s.URL); err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAServerWithoutRangesIsAskedForTheWholeFile(t *testing.T) {
	s := serve(t, cut(300_000), cut(500_000))
	s.tag = ""
	o := options(t)
	if got, err := get(t, &o, s.URL); err != nil || !bytes.Equal(got, s.content) || len(s.ranges) != 3 {
		t.Errorf("%d bytes, %v, %q", len(got), err, s.ranges)
	}
}

func TestADownloadGivesUpWithTheReason(t *testing.T) {
	type behaviour = func(http.ResponseWriter, *http.Request, *server)
	all := func(b behaviour) []behaviour { return []behaviour{b, b, b, b, b, b, b, b, b, b} }
	to := func(where string) behaviour {
		return func(w http.ResponseWriter, r *http.Request, s *server) {
			http.Redirect(w, r, strings.ReplaceAll(where, "SELF", s.URL), http.StatusFound)
		}
	}
	huge := func(w http.ResponseWriter, _ *http.Request, _ *server) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<50))
		_, _ = w.Write([]byte{0})
	}
	part := func(w http.ResponseWriter, _ *http.Request, s *server) {
		w.Header().Set("Content-Range", "bytes 5-10/1000")
		w.WriteHeader(http.StatusPartialContent)
	}
	untagged := func(b behaviour) behaviour {
		return func(w http.ResponseWriter, r *http.Request, s *server) { s.tag = ""; b(w, r, s) }
	}
	alternating := func(a, b behaviour) []behaviour { return slices.Repeat([]behaviour{a, b}, 10) }
	for name, c := range map[string]struct {
		next  []behaviour
		says  string
		tries int // as the server counts them; 0 = their number is unknown: one may have ended before its request arrived
	}{
		"not there":         {all(status(404)), "the server answered 404 Not Found", 1},
		"forbidden":         {all(status(403)), "the server answered 403 Forbidden", 1},
		"out of order":      {all(status(502)), "the server answered 502 Bad Gateway (given up after 6 tries)", 6},
		"cut at each byte":  {all(cut(0)), "EOF (given up after 6 tries)", 6},
		"cut without a tag": {all(untagged(cut(300_000))), "EOF (given up after 6 tries)", 6},
		"a byte an answer":  {all(cut(1)), "EOF (given up after 6 tries)", 6},
		"416 after a cut":   {alternating(cut(300_000), status(416)), "EOF (given up after 6 tries)", 11},
		"silent":            {all(silence), "no data for 200ms (given up after 6 tries)", 0},
		"sent around":       {all(to("SELF/again")), "more than 5 redirects", 6},
		"sent to plain": {
			all(to("http://192.0.2.1/x?token=secret")), "redirect: http://192.0.2.1/x: http:// can be tampered with", 1,
		},
		"sent to a file": {all(to("file:///etc/passwd")), "is neither https:// nor http://", 1},
		"more than fits": {all(huge), "not enough space for the bundle in", 1},
		"another part": {
			append([]behaviour{cut(10)}, all(part)...), "the server sent another part than requested", 2,
		},
		"a part at a whole": {all(part), "the server sent another part", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.next...)
			o := options(t)
			if name == "silent" {
				o.Idle = 200 * time.Millisecond
			}
			address := strings.Replace(s.URL, "http://", "http://user:secret@", 1)
			_, err := get(t, &o, address+"/shop.tar.zst?X-Amz-Signature=secret")
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.tries > 0 && len(s.ranges) != c.tries {
				t.Errorf("%d tries, want %d", len(s.ranges), c.tries)
			}
		})
	}
}

func TestAnEndlessAnswerLeavesTheReserveOfTheDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, "size=64m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	least := int64(1) << 40
	endless := func(w http.ResponseWriter, _ *http.Request, _ *server) {
		for chunk := make([]byte, 1<<20); ; {
			var st unix.Statfs_t
			must(t, unix.Statfs(dir, &st))
			least = min(least, int64(st.Bavail)*st.Bsize)
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	s := serve(t, endless)
	o := options(t)
	o.Store = &releases.Store{Dir: dir}
	_, err := Install(t.Context(), s.URL+"/shop-1.0.tar.zst", o)
	s.mu.Lock() // the server has ended its answer
	defer s.mu.Unlock()
	if err == nil || !strings.Contains(err.Error(), "not enough space for the bundle in "+dir) || least < spareBytes {
		t.Errorf("%v, and %d bytes were free", err, least)
	}
}

func TestADownloadThatTakesTooLongIsGivenUp(t *testing.T) {
	s := serve(t, silence)
	o := options(t)
	o.FetchTime = 50 * time.Millisecond
	if _, err := get(t, &o, s.URL); err == nil || !strings.Contains(err.Error(), "not fetched within 50ms") {
		t.Error(err)
	}
}

func TestARedirectLeaksNothing(t *testing.T) {
	var seen []http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header, http.Header{"Address": {r.RequestURI}})
		_, _ = w.Write([]byte("bundle"))
	}))
	defer other.Close()
	s := serve(t, func(w http.ResponseWriter, r *http.Request, _ *server) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/x", http.StatusFound)
	})
	o := options(t)
	address := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "/b?X-Amz-Signature=secret"
	if got, err := get(t, &o, address); err != nil || string(got) != "bundle" {
		t.Errorf("%q, %v", got, err)
	}
	text := fmt.Sprint(seen)
	leaked := strings.Contains(text, "secret") || strings.Contains(text, "Referer") ||
		strings.Contains(text, "Authorization")
	if len(seen) != 2 || leaked {
		t.Errorf("it was told %s", text)
	}
}

func TestASignatureIsFetchedFromNextToTheBundle(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		if len(asked) > 1 {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("signature"))
	}))
	defer s.Close()
	o := options(t)
	defaults(&o)
	for _, want := range []error{nil, fs.ErrNotExist} {
		_, signature, err := o.sources(s.URL + "/a%2Fb/shop-1.0+x.tar.zst?token=1")
		must(t, err)
		text, err := o.readSignature(t.Context(), signature)
		if !errors.Is(err, want) || err == nil && string(text) != "signature" {
			t.Errorf("%q, %v", text, err)
		}
		if got := asked[len(asked)-1]; got != "/a%2Fb/shop-1.0+x.tar.zst.minisig?token=1" {
			t.Error(got)
		}
	}
	_, signature, err := o.sources("shop.tar.zst")
	must(t, err)
	_, err = o.readSignature(t.Context(), signature)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(signature.String(), "/shop.tar.zst.minisig") {
		t.Errorf("%s: %v", signature, err)
	}
}

func TestPlainHTTPIsForLoopbackOrSignedBundles(t *testing.T) {
	for address, want := range map[string]bool{
		"https://ci.example.com/x": true, "HTTPS://ci.example.com/x": true, "http://127.0.0.1:8000/x": true,
		"http://[::1]/x": true, "http://localhost/x": true, "http://ci.example.com/x": false,
		"http://127.0.0.1.example.com/x": false, "http://10.0.0.1/x": false, "HTTP://10.0.0.1/x": false,
	} {
		u, err := url.Parse(address)
		must(t, err)
		var o Options
		if err := o.mayFetch(u); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestS3IsReachedAsTheAWSToolsReachIt(t *testing.T) {
	home := t.TempDir()
	must(t, os.Mkdir(filepath.Join(home, ".aws"), 0o755))
	config := "[default]\nregion = eu-west-1\n[profile ci]\nregion = eu-central-1\n" +
		"endpoint_url = https://s3.example.com\n"
	must(t, os.WriteFile(filepath.Join(home, ".aws", "config"), []byte(config), 0o644))
	for _, c := range []struct {
		env  map[string]string
		want s3Settings
	}{
		{nil, s3Settings{"default", "eu-west-1", ""}},
		{map[string]string{"AWS_PROFILE": "ci"}, s3Settings{"ci", "eu-central-1", "https://s3.example.com"}},
		{map[string]string{"AWS_PROFILE": "none"}, s3Settings{"none", "", ""}},
		{map[string]string{
			"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://[::1]:9000", "AWS_PROFILE": "ci",
		}, s3Settings{"ci", "us-east-1", "http://[::1]:9000"}},
		{map[string]string{
			"AWS_DEFAULT_REGION": "a", "AWS_ENDPOINT_URL_S3": "b", "AWS_ENDPOINT_URL": "c",
		}, s3Settings{"default", "a", "b"}},
	} {
		got := readS3Settings(func(name string) string {
			if name == "HOME" {
				return home
			}
			return c.env[name]
		})
		if got != c.want {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
}
