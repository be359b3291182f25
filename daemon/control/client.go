package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"superctl/api"
)

// Client talks to one daemon.
type Client struct {
	path string
	app  string
	http http.Client
}

// NewClient returns a client for the daemon of an app at the path of its control socket, without
// connecting yet. The daemon of another app refuses its requests with an *UnreachableError. With an
// empty name, the daemon of any app answers.
func NewClient(path, app string) *Client {
	c := &Client{path: path, app: app}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil && ctx.Err() == nil {
				return nil, &UnreachableError{path, err}
			}
			return conn, err
		},
	}
	return c
}

// Status returns the state of the app.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var st api.Status
	return st, c.get(ctx, pathStatus, &st)
}

// Measures returns the figures of the app for metrics.
func (c *Client) Measures(ctx context.Context) (api.Measures, error) {
	var m api.Measures
	return m, c.get(ctx, pathMeasures, &m)
}

// History returns the newest changes of the app, newest first, without the output of their hooks.
func (c *Client) History(ctx context.Context) ([]api.PastChange, error) {
	var list []api.PastChange
	return list, c.get(ctx, pathHistory, &list)
}

// Environment returns the names of the environment variables of the live generation.
func (c *Client) Environment(ctx context.Context) (api.EnvironmentStatus, error) {
	var st api.EnvironmentStatus
	return st, c.get(ctx, pathEnvironment, &st)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	body, err := c.call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// mostMoves limits how many daemons are asked in turn, each of which is replaced before it answers.
const mostMoves = 5

// followMoves returns the answer to a request that a daemon which was just being replaced may have
// refused: then the next daemon is asked.
func followMoves[T any](ask func() (T, *refusal, error)) (T, error) {
	for moves := 0; ; moves++ {
		answer, no, err := ask()
		switch {
		case err != nil || no == nil:
			return answer, err
		case no.Moved && moves < mostMoves: // the next connection is to the next daemon
		case no.Changing != nil:
			return answer, &api.BusyError{Changing: *no.Changing}
		case no.Lock != nil:
			return answer, &api.BusyError{Lock: no.Lock}
		default:
			return answer, &api.RefusedError{Usage: no.Usage, Err: errors.New(no.Error)}
		}
	}
}

// ErrLeave as the cause of the end of a context of Change leaves the change to the daemon: it continues
// without its client.
var ErrLeave = errors.New("the client leaves the change to the daemon")

// withdrawTime limits how long the daemon may take to note that a change is withdrawn.
const withdrawTime = 5 * time.Second

// Change asks the daemon for a change, passes its events to event and returns the outcome. A
// *api.BusyError or *api.RefusedError means that the change was not begun. If ctx ends, Change
// withdraws the change: before the cutover, the daemon aborts it, and Change returns the cause or the
// outcome, whichever comes first. If the cause is ErrLeave, or if this
// process dies, the change continues in the daemon, unless it is prepared.
func (c *Client) Change(
	ctx context.Context, req api.Request, event func(api.Event),
) (*api.Outcome, error) {
	token := rand.Text()
	asking, hangUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer hangUp(nil)
	withdrawn := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(withdrawn)
		if !errors.Is(context.Cause(ctx), ErrLeave) {
			c.withdraw(token)
		}
		hangUp(context.Cause(ctx))
	})
	out, err := c.changeWith(asking, http.Header{tokenHeader: {token}}, req, event)
	if !unhook() {
		<-withdrawn
	}
	return out, err
}

// ChangeWhileConnected is Change for a client that must see the outcome: if its process dies before
// the cutover, the daemon aborts the change.
func (c *Client) ChangeWhileConnected(
	ctx context.Context, req api.Request, event func(api.Event),
) (*api.Outcome, error) {
	return c.changeWith(ctx, nil, req, event)
}

func (c *Client) changeWith(
	ctx context.Context, header http.Header, req api.Request, event func(api.Event),
) (*api.Outcome, error) {
	return followMoves(func() (*api.Outcome, *refusal, error) {
		m, err := c.stream(ctx, pathChange, header, req, event)
		return m.Outcome, m.Refused, err
	})
}

// withdraw tells the daemon that the user wants a change canceled. A daemon that does not know this
// request cancels when the connection of the change ends.
func (c *Client) withdraw(token string) {
	ctx, cancel := context.WithTimeout(context.Background(), withdrawTime)
	defer cancel()
	if body, err := c.call(ctx, http.MethodPost, pathWithdraw, nil, withdrawRequest{token}); err == nil {
		_ = body.Close()
	}
}

// Attach follows the change in progress: it passes its events to event and returns its outcome. Without
// a change in progress, it returns the last one's.
func (c *Client) Attach(ctx context.Context, event func(api.Event)) (*api.Attached, error) {
	return followMoves(func() (*api.Attached, *refusal, error) {
		m, err := c.stream(ctx, pathAttach, nil, struct{}{}, event)
		return m.Attached, m.Refused, err
	})
}

// Cancel cancels the change in progress, and returns when that has ended. A *api.RefusedError says why
// it cannot be canceled.
func (c *Client) Cancel(ctx context.Context, req api.CancelRequest) (*api.Canceled, error) {
	return followMoves(func() (*api.Canceled, *refusal, error) {
		body, err := c.call(ctx, http.MethodPost, pathCancel, nil, req)
		if err != nil {
			return nil, nil, err
		}
		defer body.Close()
		var answer cancelAnswer
		switch err := json.NewDecoder(body).Decode(&answer); {
		case err != nil && ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err != nil:
			return nil, nil, &UnreachableError{c.path, lost(pathCancel)}
		}
		return answer.Canceled, answer.Refused, nil
	})
}

// RunCron has the daemon run a scheduled command, passes what it writes to line and returns how it
// ended. A *api.BusyError or *api.RefusedError means that it was not started. If ctx ends, the
// connection is closed, and the daemon ends the command.
func (c *Client) RunCron(
	ctx context.Context, req api.CronRequest, line func(string),
) (*api.CronRun, error) {
	return followMoves(func() (*api.CronRun, *refusal, error) {
		m, err := c.stream(ctx, pathCron, nil, req, func(ev api.Event) { line(ev.Detail) })
		return m.Ran, m.Refused, err
	})
}

// lost says what a client knows whose connection has ended, and the next step.
func lost(path string) error {
	next := "superctl attach"
	if path == pathCron {
		next = "superctl cron"
	}
	return fmt.Errorf("the connection ended before the outcome was known; %s shows it", next)
}

// stream makes a request whose answer is events and then a last message, which it returns.
func (c *Client) stream(
	ctx context.Context, path string, header http.Header, req any, event func(api.Event),
) (message, error) {
	body, err := c.call(ctx, http.MethodPost, path, header, req)
	if err != nil {
		return message{}, err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var m message
		err := dec.Decode(&m)
		switch {
		case err != nil && ctx.Err() != nil:
			return message{}, context.Cause(ctx)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return message{}, &UnreachableError{c.path, lost(path)}
		case err != nil:
			return message{}, fmt.Errorf("read the daemon's answer: %w", err)
		case m.Event != nil:
			event(*m.Event)
		case m.Refused != nil, m.Outcome != nil, m.Ran != nil, m.Attached != nil:
			return m, nil
		}
	}
}

// Go gives a change that has sent the event "ready" the word to cut over. A *api.RefusedError says
// that the change does not wait any more: its outcome says why.
func (c *Client) Go(ctx context.Context, change string) error {
	_, err := followMoves(func() (struct{}, *refusal, error) {
		body, err := c.call(ctx, http.MethodPost, pathGo, nil, goRequest{change})
		if err != nil {
			return struct{}{}, nil, err
		}
		defer body.Close()
		var answer goAnswer
		if err := json.NewDecoder(body).Decode(&answer); err != nil {
			return struct{}{}, nil, fmt.Errorf("read the daemon's answer: %w", err)
		}
		return struct{}{}, answer.Refused, nil
	})
	return err
}

// Lock locks the app for a run and holds the lock until ctx ends. It calls locked when it has the
// lock. The error is an *UnreachableError if the lock is lost because the daemon has ended.
func (c *Client) Lock(ctx context.Context, l api.Lock, locked func()) error {
	body, err := followMoves(func() (io.ReadCloser, *refusal, error) {
		body, err := c.call(ctx, http.MethodPost, pathLock, nil, l)
		if err != nil {
			return nil, nil, err
		}
		var answer lockAnswer
		if err := json.NewDecoder(body).Decode(&answer); err != nil || !answer.Locked {
			_ = body.Close()
			if answer.Refused == nil {
				return nil, nil, cmp.Or(ctx.Err(), c.lockLost(ctx))
			}
			return nil, answer.Refused, nil
		}
		return body, nil, nil
	})
	if err != nil {
		return err
	}
	defer body.Close()
	locked()
	_, _ = io.Copy(io.Discard, body) // nothing comes but the end
	return c.lockLost(ctx)
}

// lockLost returns the error when the connection of a lock has ended; nil if ctx has ended it.
func (c *Client) lockLost(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return &UnreachableError{c.path, errors.New("the daemon has ended, and the lock with it")}
	}
}

// Announce has the daemon notify the team of the end of a run.
func (c *Client) Announce(ctx context.Context, r api.RunReport) error {
	_, err := followMoves(func() (struct{}, *refusal, error) {
		body, err := c.call(ctx, http.MethodPost, pathReport, nil, r)
		if err != nil {
			return struct{}{}, nil, err
		}
		defer body.Close()
		var answer reportAnswer
		if err := json.NewDecoder(body).Decode(&answer); err != nil {
			return struct{}{}, nil, fmt.Errorf("read the daemon's answer: %w", err)
		}
		return struct{}{}, answer.Refused, nil
	})
	return err
}

// Signal has the daemon signal the workers of a process. A *api.RefusedError says that none was
// signaled.
func (c *Client) Signal(ctx context.Context, req api.SignalRequest) (*api.Signaled, error) {
	return followMoves(func() (*api.Signaled, *refusal, error) {
		body, err := c.call(ctx, http.MethodPost, pathSignal, nil, req)
		if err != nil {
			return nil, nil, err
		}
		defer body.Close()
		var answer signalAnswer
		switch err := json.NewDecoder(body).Decode(&answer); {
		case err != nil:
			return nil, nil, fmt.Errorf("read the daemon's answer: %w", err)
		case answer.Refused == nil && answer.Signaled == nil:
			return nil, nil, errors.New("read the daemon's answer: it is empty")
		}
		return answer.Signaled, answer.Refused, nil
	})
}

// Logs passes the workers' output to line, with Follow also the future output, until ctx or the
// daemon ends.
func (c *Client) Logs(ctx context.Context, q api.LogQuery, line func(api.LogLine)) error {
	body, err := c.call(ctx, http.MethodPost, pathLogs, nil, q)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var l api.LogLine
		err := dec.Decode(&l)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		line(l)
	}
}

// notUnderstood returns the error for a request that the daemon could not read. A daemon refuses a
// field that it does not know: it is older than this client.
func notUnderstood(answer string) error {
	if _, field, older := strings.Cut(answer, "unknown field "); older {
		return fmt.Errorf(
			"the running daemon is older than this superctl and does not know %s: "+
				"replace it with superctl upgrade, which loses no request", field,
		)
	}
	return errors.New(answer)
}

// call sends one request and returns the body of the answer.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, body any) (io.ReadCloser, error) {
	var payload io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://superctl"+path, payload)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set(versionHeader, Version)
	if c.app != "" {
		req.Header.Set(appHeader, c.app)
	}
	if method != http.MethodGet {
		addClaims(req.Header)
	}
	resp, err := c.http.Do(req)
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return nil, unreachable
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &UnreachableError{c.path, err}
	case resp.StatusCode == http.StatusMisdirectedRequest:
		_ = resp.Body.Close()
		return nil, &UnreachableError{c.path, &OtherAppError{App: c.app, Answers: resp.Header.Get(appHeader)}}
	case resp.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.Join(notUnderstood(strings.TrimSpace(string(text))), resp.Body.Close())
	}
	return resp.Body, nil
}
