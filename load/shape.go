package load

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// Shape is a kind of request, with the answer that it must get.
type Shape struct {
	Name        string // for reports
	Method      string
	Path        string
	Body        int           // number of random bytes to send; the answer must contain their SHA-256 in hexadecimal
	BodyIgnored bool          // the app may ignore the body: the answer need not contain its SHA-256
	Length      int64         // required length of the answer's body; 0 = any
	Timeout     time.Duration // 0 = the load's
	Weight      int           // relative frequency; 0 = 1
	Check       func(status int, header http.Header, body []byte) error
}

// Get returns a GET request whose answer must be 200.
func Get(path string) Shape {
	return Shape{Name: "GET " + path, Method: http.MethodGet, Path: path}
}

// Post returns a POST request with size random bytes. The answer must be 200 and contain their
// SHA-256.
func Post(path string, size int) Shape {
	return Shape{Name: "POST " + path, Method: http.MethodPost, Path: path, Body: size}
}

// Stream returns a GET request whose answer must be 200 and length bytes long.
func Stream(path string, length int64) Shape {
	return Shape{Name: "GET " + path, Method: http.MethodGet, Path: path, Length: length}
}

// Pattern is Stream for a body that counts from 0 to 255 repeatedly, so that a byte of another
// answer is detected.
func Pattern(path string, length int64) Shape {
	s := Stream(path, length)
	s.Check = func(status int, _ http.Header, body []byte) error {
		if status != http.StatusOK {
			return fmt.Errorf("status %d", status)
		}
		for i, b := range body {
			if b != byte(i) {
				return fmt.Errorf("byte %d of the body is %d", i, b)
			}
		}
		return nil
	}
	return s
}

// judge returns the class of a complete answer, and what is wrong with it.
func (s *Shape) judge(status int, header http.Header, body []byte, digest string) (Failure, error) {
	switch {
	case status >= 500:
		return ServerError, fmt.Errorf("status %d", status)
	case s.Check == nil && status != http.StatusOK:
		return Wrong, fmt.Errorf("status %d", status)
	case s.Length > 0 && int64(len(body)) != s.Length:
		return Wrong, fmt.Errorf("the body has %d bytes instead of %d", len(body), s.Length)
	case digest != "" && !bytes.Contains(body, []byte(digest)):
		return Wrong, fmt.Errorf("the answer does not contain the digest of the body that was sent")
	}
	if s.Check != nil {
		if err := s.Check(status, header, body); err != nil {
			return Wrong, err
		}
	}
	return None, nil
}
