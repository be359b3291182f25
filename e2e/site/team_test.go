package site

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// team fakes all services for notifications: one TLS server for all hosts, a proxy that leads
// there, and a mail server. They record their requests.
type team struct {
	t     *testing.T
	web   *httptest.Server
	proxy *httptest.Server
	mail  net.Listener
	cert  tls.Certificate
	env   []string // for a daemon that is to find them

	mu      sync.Mutex
	down    bool                // everybody answers 503
	tried   map[string]int      // requests by host while they were down
	got     []string            // what came of it otherwise: HOST EVENT RELEASE
	asked   map[string][]string // whole requests, by host
	changed chan struct{}       // closed and replaced when something comes
}

func newTeam(t *testing.T) *team {
	t.Helper()
	m := &team{t: t, tried: make(map[string]int), asked: make(map[string][]string), changed: make(chan struct{})}
	bundle := m.certify(
		"hooks.slack.com", "contoso.api.powerplatform.com", "discord.com", "ops.example.com", "api.eu.newrelic.com",
		"sentry.io", "api.datadoghq.eu",
	)
	m.web = httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	m.web.TLS = &tls.Config{Certificates: []tls.Certificate{m.cert}, MinVersion: tls.VersionTLS12}
	m.web.StartTLS()
	t.Cleanup(m.web.Close)
	m.proxy = httptest.NewServer(http.HandlerFunc(m.connect))
	t.Cleanup(m.proxy.Close)
	m.listenForMail()
	m.env = []string{"HTTPS_PROXY=" + m.proxy.URL, "SSL_CERT_FILE=" + bundle}
	return m
}

// certify creates a certificate authority and a certificate for these hosts and this machine. It
// returns the path of the authority's certificate.
func (m *team) certify(hosts ...string) (bundle string) {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's own"}, DNSNames: hosts,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		m.t.Fatal(err)
	}
	m.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	file, err := os.CreateTemp(m.t.TempDir(), "ca-*.pem")
	if err == nil {
		err = pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	if err != nil {
		m.t.Fatal(err)
	}
	_ = file.Close()
	return file.Name()
}

// connect is the proxy: it connects every host to the server.
func (m *team) connect(w http.ResponseWriter, r *http.Request) {
	to, err := net.Dial("tcp", m.web.Listener.Addr().String())
	if r.Method != http.MethodConnect || err != nil {
		http.Error(w, "no", http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, from) // ends when one of them hangs up
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// serve answers like each service and records the request.
func (m *team) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if m.take(r.Host, summary(r.URL.Path, string(body)), whole(r, body)) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	switch r.Host {
	case "hooks.slack.com":
		fmt.Fprint(w, "ok")
	case "api.eu.newrelic.com":
		fmt.Fprint(
			w, `{"data":{"changeTrackingCreateEvent":{"changeTrackingEvent":{"changeTrackingId":"1"},"messages":[]}}}`,
		)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// take records a request, and reports whether the service is down.
func (m *team) take(host, line, request string) (down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		m.tried[host]++
	} else {
		m.got = append(m.got, host+" "+line)
		m.asked[host] = append(m.asked[host], request)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return m.down
}

// goDown makes all services answer 503, or ends that.
func (m *team) goDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
	clear(m.tried)
}

// await waits for a condition on the recorded requests.
func (m *team) await(what string, cond func() bool) {
	m.t.Helper()
	var state string
	if !harness.Changes(nil, func() (<-chan struct{}, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		state = strings.Join(m.got, "\n  ")
		return m.changed, cond()
	}) {
		m.t.Fatalf("not within %s: %s\n  %s", harness.Patience, what, state)
	}
}

// awaitAttempts waits until each host has been tried while it was down.
func (m *team) awaitAttempts(hosts ...string) {
	m.t.Helper()
	m.await("every host is tried", func() bool {
		return !slices.ContainsFunc(hosts, func(h string) bool { return m.tried[h] == 0 })
	})
}

// want waits until exactly these lines have come since the last call, in order for each host.
func (m *team) want(lines ...string) {
	m.t.Helper()
	m.await(fmt.Sprint(len(lines), " messages"), func() bool { return len(m.got) >= len(lines) })
	m.mu.Lock()
	defer m.mu.Unlock()
	byHost := func(a, b string) int { return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0]) }
	slices.SortStableFunc(m.got, byHost)
	slices.SortStableFunc(lines, byHost)
	if !slices.Equal(m.got, lines) {
		m.t.Fatalf("delivered:\n  %s\nwant:\n  %s", strings.Join(m.got, "\n  "), strings.Join(lines, "\n  "))
	}
	m.got = nil
}

var sentences = []struct {
	event string
	text  *regexp.Regexp
}{
	{"start", regexp.MustCompile(`shop\d+: switching to (\S+) from`)},
	{"success", regexp.MustCompile(`shop\d+: (\S+) is live, replacing`)},
	{"abort", regexp.MustCompile(`shop\d+: (\S+) was REFUSED`)},
	{"revert", regexp.MustCompile(`shop\d+: (\S+) was REVERTED`)},
}

// summary returns the subject of a request: EVENT RELEASE, or for a marker its path or nothing.
func summary(path, body string) string {
	text := strings.ReplaceAll(body, `\\`, "") // Discord's are escaped
	for _, s := range sentences {
		if found := s.text.FindStringSubmatch(text); found != nil {
			return s.event + " " + found[1]
		}
	}
	_, path, _ = strings.Cut(path, "/releases/")
	return "releases/" + path
}

var passing = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)|\d{10,}|shop\d+|\(switch by [^,]*, on [^,)]*|"(host|user|who)": "[^"]*"|switch on [^"]*|took [0-9.]+ m?s`)

// whole returns a request as text, without the parts that vary.
func whole(r *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s https://%s%s\n", r.Method, r.Host, r.URL.RequestURI())
	for _, name := range []string{"Api-Key", "Authorization", "Content-Type", "Dd-Api-Key", "Idempotency-Key"} {
		if v := r.Header.Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	var message map[string]any
	if json.Unmarshal(body, &message) == nil {
		if o, ok := message["outcome"].(map[string]any); ok { // its steps and their times are another test's
			message["outcome"] = map[string]any{
				"kind": o["kind"], "outcome": o["outcome"], "release": o["release"], "steps": o["steps"] != nil,
			}
		}
		body, _ = json.MarshalIndent(message, "", "  ")
	}
	return passing.ReplaceAllString(b.String()+"\n"+string(body)+"\n", "~")
}

func (m *team) listenForMail() {
	m.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.mail = l
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				m.smtp(conn)
			})
		}
	})
	m.t.Cleanup(func() { _ = l.Close(); open.Wait() })
}

// wantSaid fails the test unless each of the hosts got a text.
func (m *team) wantSaid(text string, hosts ...string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, host := range hosts {
		if all := strings.Join(m.asked[host], "\n"); !strings.Contains(all, text) {
			m.t.Errorf("%s was not told %q:\n%s", host, text, all)
		}
	}
}

// wantNowhere fails the test if any host got a text.
func (m *team) wantNowhere(text string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for host, all := range m.asked {
		if strings.Contains(strings.Join(all, "\n"), text) {
			m.t.Errorf("%s was told %q", host, text)
		}
	}
}

// smtp is a mail server that wants TLS and a password.
func (m *team) smtp(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(harness.Patience)) // without it, it waits longer
	fmt.Fprint(conn, "220 mail ESMTP\r\n")
	in, secure, letter := bufio.NewReader(conn), false, ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		answer := "250 ok"
		switch {
		case strings.EqualFold(verb, "EHLO") && !secure:
			answer = "250-mail\r\n250 STARTTLS"
		case strings.EqualFold(verb, "EHLO"):
			answer = "250-mail\r\n250 AUTH PLAIN"
		case verb == "STARTTLS":
			fmt.Fprint(conn, "220 go on\r\n")
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{m.cert}, MinVersion: tls.VersionTLS12})
			in, secure = bufio.NewReader(conn), true
			continue
		// shop, mail-password-0123
		case verb == "AUTH" && (!secure || rest != "PLAIN AHNob3AAbWFpbC1wYXNzd29yZC0wMTIz"):
			answer = "535 no"
		case verb == "AUTH":
			answer = "235 welcome"
		case verb == "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				letter += line
			}
			flowing := strings.ReplaceAll(letter, "=\r\n", "")
			if m.take("mail", summary("", flowing), letter) {
				answer = "451 later"
			}
		case verb == "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		}
		fmt.Fprint(conn, answer+"\r\n")
	}
}
