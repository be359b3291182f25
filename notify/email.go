package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// mailServer returns the host and port of the mail server. The default port depends on the kind of
// TLS.
func (t *Target) mailServer() (host string, port int, err error) {
	port = map[string]int{"implicit": 465, "none": 25}[t.TLS]
	port = cmp.Or(port, 587)
	host = t.Host
	if h, p, err := net.SplitHostPort(t.Host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, errors.New(`invalid port: write a number, such as "smtp.example.com:587"`)
		}
		host, port = h, int(n)
	}
	if host == "" || strings.ContainsAny(host, "/@ ") {
		return "", 0, errors.New(`write the name of a mail server, such as "smtp.example.com" or ` +
			`"smtp.example.com:587"`)
	}
	return host, port, nil
}

func (t *Target) mailIsLocal() bool {
	host, _, err := t.mailServer()
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// sendEmail sends one mail to all recipients. The Message-ID contains the message's ID, so that
// clients can detect a duplicate.
func sendEmail(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	letter, err := m.toMail(t, c.now())
	if err != nil {
		return err
	}
	client, closeConns, err := t.mailClient(ctx, secret)
	if err != nil {
		return err
	}
	defer closeConns()
	err = client.DialAndSendWithContext(ctx, letter)
	var sent *mail.SendError
	switch {
	case err == nil || letter.IsDelivered(): // an error after the delivery does not matter
		return nil
	case errors.As(err, &sent) && sent.ErrorCode() >= 500:
		return &failure{why: err.Error(), permanent: true}
	}
	return err
}

// mailClient returns a client for one mail. The library leaves connections open; closeConns, or the
// end of ctx, closes them.
func (t *Target) mailClient(
	ctx context.Context, password string,
) (client *mail.Client, closeConns context.CancelFunc, err error) {
	host, port, err := t.mailServer()
	if err != nil {
		return nil, func() {}, err
	}
	whole, closeConns := context.WithCancel(ctx)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			context.AfterFunc(whole, func() { _ = conn.Close() }) // it is usually closed already
		}
		return conn, err
	}
	opts := []mail.Option{mail.WithPort(port), mail.WithTimeout(callTimeout), mail.WithoutNoop()}
	switch t.TLS {
	case "none":
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS), mail.WithDialContextFunc(dial))
	case "implicit":
		// with our dialer the library would take the connection for an unencrypted one
		opts = append(opts, mail.WithSSL())
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory), mail.WithDialContextFunc(dial))
	}
	if t.Username != "" {
		auth := mail.SMTPAuthAutoDiscover
		if t.TLS == "none" {
			auth = mail.SMTPAuthPlainNoEnc // to this machine only: the config ensures that
		}
		opts = append(opts, mail.WithSMTPAuth(auth), mail.WithUsername(t.Username), mail.WithPassword(password))
	}
	client, err = mail.NewClient(host, opts...)
	return client, closeConns, err
}

// toMail returns the message as a mail.
func (m *Message) toMail(t *Target, now time.Time) (*mail.Msg, error) {
	letter := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := errors.Join(letter.From(t.From), letter.To(t.To...)); err != nil {
		return nil, err
	}
	domain := "superctl.invalid"
	if _, d, ok := strings.Cut(strings.TrimSuffix(t.From, ">"), "@"); ok {
		domain = d
	}
	letter.Subject(m.title())
	letter.SetDateWithValue(m.Time)
	letter.SetMessageIDWithValue(fmt.Sprintf("superctl.%s.%s@%s", m.App, m.ID, domain))
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	letter.SetBodyString(mail.TypeTextPlain, m.details(now))
	return letter, nil
}

// details returns the message as text of several lines.
func (m *Message) details(now time.Time) string {
	var b strings.Builder
	o := &m.Outcome
	fmt.Fprintf(&b, "%s\n\n", m.text(now))
	for _, line := range [][2]string{
		{"app", m.App},
		{"host", m.Host},
		{"change", o.Kind},
		{"by", m.who()},
		{"release", named(o.Release, o.Commit)},
		{"before", named(o.Previous, o.PreviousCommit)},
		{"begun", o.Started.UTC().Format(time.RFC1123)},
		{"error", o.Error},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%-8s %s\n", line[0], line[1])
		}
	}
	for _, s := range o.Steps {
		fmt.Fprintf(&b, "  %-10s %8s  %s\n", s.Name, took(s.Seconds), s.Detail)
	}
	for _, w := range o.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	if len(o.Log) > 0 {
		fmt.Fprintf(&b, "\nthe last lines of its log:\n  %s\n", strings.Join(o.Log, "\n  "))
	}
	return b.String()
}
