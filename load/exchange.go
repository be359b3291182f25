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

// maxAnswer limits the length of an answer's body: an endless answer must not exhaust the client's
// memory.
const maxAnswer = 16 << 20

// Record describes one request and its outcome.
type Record struct {
	Shape  int  // index into the result's Shapes
	Client int  // number of the client that sent it
	Reused bool // sent over a connection that an earlier request had opened

	Due       time.Time // scheduled time; a user's wait is counted from here
	Opened    time.Time // when connect was called for its connection (for an earlier request, if reused)
	Connected time.Time // when that connect returned
	Begun     time.Time // when connect was called or the first byte sent
	Ended     time.Time // when the last byte arrived, or the request failed

	Status     int    // 0 = no answer
	Release    string // the answering worker, from the headers X-Release, X-Generation and X-Pid
	Generation int
	PID        int
	Bytes      int64 // length of the answer's body

	Failure Failure
	Err     string
}

// Took returns how long a user would have waited, counted from the time at which the request was
// due.
func (r *Record) Took() time.Duration { return r.Ended.Sub(r.Due) }

// connection is a client's connection to the server. At most one is open.
type connection struct {
	cfg  *Config
	keep bool // keep-alive
	rng  *rand.Rand

	conn      net.Conn
	counted   *countingReader
	reader    *bufio.Reader
	opened    time.Time
	connected time.Time
	body      []byte // buffer for request bodies
	answer    bytes.Buffer
}

// exchange sends one request and reads its answer.
func (c *connection) exchange(s *Shape) Record {
	ctx, cancel := context.WithTimeout(context.Background(), orDefault(s.Timeout, c.cfg.Timeout))
	defer cancel()
	rec := Record{Begun: time.Now(), Reused: c.alive()}
	f, err := c.connect(ctx, &rec)
	if f == None {
		f, err = c.converse(s, &rec)
	}
	if f != None {
		c.close()
		rec.Ended, rec.Failure, rec.Err = time.Now(), f, err.Error()
	}
	return rec
}

// connect opens a connection, unless one is open.
func (c *connection) connect(ctx context.Context, rec *Record) (Failure, error) {
	if !rec.Reused {
		if err := c.dial(ctx); err != nil {
			rec.Opened = c.opened
			return classifyDial(err), err
		}
	}
	rec.Opened, rec.Connected = c.opened, c.connected
	deadline, _ := ctx.Deadline()
	_ = c.conn.SetDeadline(deadline)
	c.counted.n = 0
	return None, nil
}

// converse sends a request over the open connection, and reads and judges the answer.
func (c *connection) converse(s *Shape, rec *Record) (Failure, error) {
	request, digest := c.request(s)
	if _, err := c.conn.Write(request); err != nil {
		return classify(err, false), err
	}
	//nolint:bodyclose // the connection is ours, and is closed unless the body was read to its end
	resp, err := http.ReadResponse(c.reader, &http.Request{Method: s.Method})
	if err != nil {
		return classify(err, c.counted.n > 0), fmt.Errorf("read the head of the answer: %w", err)
	}
	rec.Status = resp.StatusCode
	rec.Release = resp.Header.Get("X-Release")
	rec.Generation, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	rec.PID, _ = strconv.Atoi(resp.Header.Get("X-Pid"))

	c.answer.Reset()
	rec.Bytes, err = io.Copy(&c.answer, io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return classify(err, true), fmt.Errorf("read the body of the answer, after %d bytes: %w", rec.Bytes, err)
	}
	rec.Ended = time.Now()
	if rec.Bytes > maxAnswer {
		return Wrong, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if f, err := s.judge(resp.StatusCode, resp.Header, c.answer.Bytes(), digest); f != None {
		return f, err
	}
	if !c.keep || resp.Close {
		c.close()
	}
	return None, nil
}

// request returns the bytes to send, and the digest that the answer must contain.
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
		if !s.BodyIgnored {
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

// alive reports whether an open connection can be reused. Like the connection pools of real
// clients, it checks whether the server has closed the connection in the meantime; a close after
// this check counts as a failure.
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

// countingReader counts bytes, to distinguish an answer that never began from one that was cut
// short.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
