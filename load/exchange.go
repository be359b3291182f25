package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// maxAnswer is the longest body that is taken: an endless answer must not eat the client's memory.
const maxAnswer = 16 << 20

// Record is one request and what became of it.
type Record struct {
	Shape  int  // index into the result's Shapes
	Client int  // which of the clients
	Reused bool // over a connection that an earlier request had opened

	Due       time.Time // when it was to be sent; what a user waits is counted from here
	Opened    time.Time // its connection's connect was called; an earlier request's, if reused
	Connected time.Time // its connection's connect had returned
	Begun     time.Time // its first byte was sent, or its connect called
	Ended     time.Time // its last byte had come, or it had failed

	Status     int    // 0 = no answer
	Release    string // who answered, by X-Release, X-Generation and X-Pid
	Generation int
	PID        int
	Bytes      int64 // of the answer's body

	Failure Failure
	Err     string
}

// Took is how long a user would have waited: from the moment when the request was due.
func (r *Record) Took() time.Duration { return r.Ended.Sub(r.Due) }

// connection is one client's way to the server: at most one open connection.
type connection struct {
	cfg  *Config
	keep bool // it may be used again
	rng  *rand.Rand

	conn      net.Conn
	counted   *countingReader
	reader    *bufio.Reader
	opened    time.Time
	connected time.Time
	body      []byte // reused
	answer    bytes.Buffer
}

// exchange sends one request and takes its answer.
func (c *connection) exchange(s *Shape) (rec Record) {
	ctx, cancel := context.WithTimeout(context.Background(), orDefault(s.Timeout, c.cfg.Timeout))
	defer cancel()
	rec.Begun = time.Now()
	rec.Reused = c.alive()
	fail := func(f Failure, err error) Record {
		c.close()
		rec.Ended, rec.Failure, rec.Err = time.Now(), f, err.Error()
		return rec
	}
	if !rec.Reused {
		if err := c.dial(ctx); err != nil {
			rec.Opened = c.opened
			return fail(classifyDial(err), err)
		}
	}
	rec.Opened, rec.Connected = c.opened, c.connected
	deadline, _ := ctx.Deadline()
	_ = c.conn.SetDeadline(deadline)
	c.counted.n = 0

	request, digest := c.request(s)
	if _, err := c.conn.Write(request); err != nil {
		return fail(classify(err, false), err)
	}
	resp, err := http.ReadResponse(c.reader, &http.Request{Method: s.Method}) //nolint:bodyclose // the connection is ours, and closed where the body is not read to its end
	if err != nil {
		return fail(classify(err, c.counted.n > 0), fmt.Errorf("read the head of the answer: %w", err))
	}
	rec.Status = resp.StatusCode
	rec.Release = resp.Header.Get("X-Release")
	rec.Generation, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	rec.PID, _ = strconv.Atoi(resp.Header.Get("X-Pid"))

	c.answer.Reset()
	rec.Bytes, err = io.Copy(&c.answer, io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fail(classify(err, true), fmt.Errorf("read the body of the answer, after %d bytes: %w", rec.Bytes, err))
	}
	rec.Ended = time.Now()
	if rec.Bytes > maxAnswer {
		return fail(Wrong, fmt.Errorf("the answer is longer than %d bytes", maxAnswer))
	}
	if f, err := s.judge(resp.StatusCode, resp.Header, c.answer.Bytes(), digest); f != None {
		return fail(f, err)
	}
	if !c.keep || resp.Close {
		c.close()
	}
	return rec
}

// request is what goes over the wire, and the digest that the answer must contain.
func (c *connection) request(s *Shape) (wire []byte, digest string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: superctl-load\r\n", s.Method, s.Path, c.cfg.Host)
	if !c.keep {
		b.WriteString("Connection: close\r\n")
	}
	if s.Body > 0 {
		if cap(c.body) < s.Body {
			c.body = make([]byte, s.Body)
		}
		body := c.body[:s.Body]
		for i := range body {
			body[i] = byte(c.rng.Uint32())
		}
		if !s.Unread {
			sum := sha256.Sum256(body)
			digest = hex.EncodeToString(sum[:])
		}
		fmt.Fprintf(&b, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", len(body))
		b.Write(body)
	} else {
		b.WriteString("\r\n")
	}
	return b.Bytes(), digest
}

func (c *connection) dial(ctx context.Context) error {
	c.opened = time.Now()
	var d net.Dialer
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, c.cfg.Network, c.cfg.Address)
	c.connected = time.Now()
	if err != nil {
		return err
	}
	c.conn = conn
	c.counted = &countingReader{r: conn}
	c.reader = bufio.NewReader(c.counted)
	return nil
}

// alive says whether there is an open connection that the next request may use. Like the pools of real clients it looks
// whether the server has closed the connection in the meantime; what is closed after this look is a failure.
func (c *connection) alive() bool {
	if c.conn == nil {
		return false
	}
	raw, err := c.conn.(syscall.Conn).SyscallConn()
	idle := false
	if err == nil && c.reader.Buffered() == 0 {
		err = raw.Read(func(fd uintptr) bool {
			_, _, peekErr := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			idle = errors.Is(peekErr, syscall.EAGAIN)
			return true
		})
	}
	if err != nil || !idle {
		c.close()
		return false
	}
	return true
}

func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// countingReader tells an answer that never began from one that was cut.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
