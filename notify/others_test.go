package notify

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

// mailServer accepts one mail, unless refuse has another answer to a command, and returns what it
// received.
func mailServer(t *testing.T, refuse map[string]string) (address string, heard func() []string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		lines = talk(conn, refuse)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String(), func() []string { <-done; return lines }
}

func talk(conn net.Conn, refuse map[string]string) (lines []string) {
	fmt.Fprint(conn, "220 mail.example.com ESMTP\r\n")
	in, data := bufio.NewScanner(conn), false
	for in.Scan() {
		line := in.Text()
		lines = append(lines, line)
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		answer := "250 ok"
		switch {
		case data && line != ".":
			continue
		case data:
			data, verb = false, "."
		case verb == "EHLO":
			answer = "250-mail.example.com\r\n250 AUTH PLAIN"
		case verb == "AUTH":
			answer = "235 welcome"
		case verb == "DATA":
			answer, data = "354 go on", refuse["DATA"] == ""
		}
		if no := refuse[verb]; no != "" {
			answer = no
		}
		if answer == "hang up" {
			return lines
		}
		fmt.Fprint(conn, answer+"\r\n")
		if verb == "QUIT" {
			return lines
		}
	}
	return lines
}

func TestAMailIsSentOnce(t *testing.T) {
	_, c := newInternet(t)
	// some close the connection instead of answering QUIT
	address, heard := mailServer(t, map[string]string{"QUIT": "hang up"})
	to := withSecret(t,
		Target{
			Service: "email", Host: address, TLS: "none", From: "Shop <shop@example.com>",
			To: []string{"a@example.com", "b@example.com"}, Username: "shop",
		}, "pass-word-0123")
	if err := c.deliver(t.Context(), to, message(api.Reverted)); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(heard(), "\n")
	for _, part := range []string{
		"AUTH PLAIN AHNob3AAcGFzcy13b3JkLTAxMjM=", "MAIL FROM:<shop@example.com>",
		"RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>",
	} {
		if !strings.Contains(all, part) {
			t.Errorf("no %s in\n%s", part, all)
		}
	}
	_, text, _ := strings.Cut(all, "\nDATA\n")
	letter, err := mail.ReadMessage(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for name, want := range map[string]string{
		"Subject": "shop: switch to 2026-11-23 was reverted", "From": `"Shop" <shop@example.com>`,
		"To":         "<a@example.com>, <b@example.com>",
		"Message-Id": "<superctl.shop.1795403045000000006-end@example.com>", "Date": "Mon, 23 Nov 2026 03:04:09 +0000",
		"Auto-Submitted": "auto-generated",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	body, err := io.ReadAll(letter.Body)
	if err != nil || !strings.Contains(string(body), "was REVERTED") ||
		!strings.Contains(string(body), "ModuleNotFoundError") {
		t.Errorf("%v\n%s", err, body)
	}
}

func TestAPermanentlyRefusedMailIsNotRetried(t *testing.T) {
	for _, test := range []struct {
		refuse map[string]string
		want   string
	}{
		{map[string]string{"RCPT": "550 no such user"}, "never: "},
		{map[string]string{"RCPT": "451 come back later"}, "again: "},
		{map[string]string{"DATA": "hang up"}, "again: "},
		{map[string]string{".": "552 too much"}, "never: "},
		{map[string]string{"AUTH": "535 wrong password"}, "again: "},
	} {
		_, c := newInternet(t)
		address, _ := mailServer(t, test.refuse)
		to := withSecret(t,
			Target{
				Service: "email", Host: address, TLS: "none", From: "shop@example.com",
				To: []string{"a@example.com"}, Username: "shop",
			}, "pass-word-0123")
		if got := verdict(c.deliver(t.Context(), to, message(api.Done))); !strings.HasPrefix(got, test.want) ||
			strings.Contains(got, "pass-word") {
			t.Errorf("%v: %s", test.refuse, got)
		}
	}
	to := Target{Service: "email", Host: "127.0.0.1:1", From: "shop@example.com", To: []string{"a@example.com"}}
	_, c := newInternet(t)
	if got := verdict(c.deliver(t.Context(), &to, message(api.Done))); !strings.HasPrefix(got, "again: ") {
		t.Error(got)
	}
}

func TestAMailServerWithoutTLSGetsNothing(t *testing.T) {
	_, c := newInternet(t)
	address, heard := mailServer(t, nil)
	to := Target{Service: "email", Host: address, From: "shop@example.com", To: []string{"a@example.com"}}
	if got := verdict(c.deliver(t.Context(), &to, message(api.Done))); !strings.Contains(got, "STARTTLS") {
		t.Error(got)
	}
	if all := strings.Join(heard(), " "); strings.Contains(all, "MAIL") {
		t.Error(all)
	}
}

func TestShoutrrrReachesOtherServices(t *testing.T) {
	var asked, said string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked, said = r.Method+" "+r.URL.Path+" "+r.Header.Get("Title"), string(data)
		if strings.HasSuffix(r.URL.Path, "refused") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"code":40301,"http":403,"error":"forbidden"}`)
			return
		}
		fmt.Fprint(w, `{"id":"1"}`)
	}))
	defer server.Close()
	_, c := newInternet(t)
	host := strings.TrimPrefix(server.URL, "http://")
	to := withSecret(t, Target{Service: "shoutrrr"}, "ntfy://"+host+"/topic?scheme=http")
	m := message(api.Done)
	if err := c.deliver(t.Context(), to, m); err != nil ||
		!strings.HasPrefix(asked, "POST /topic shop: switch to 2026-11-23 succeeded") || said != m.Text {
		t.Errorf("%v\n%s\n%s", err, asked, said)
	}
	to = withSecret(t, Target{Service: "shoutrrr"}, "ntfy://"+host+"/refused?scheme=http")
	if err := c.deliver(t.Context(), to, m); err == nil {
		t.Error("it was refused, and is taken for delivered")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := c.deliver(ctx, to, m); err == nil {
		t.Error("no time is left, and it is delivered")
	}
}
