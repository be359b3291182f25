package load

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// Shape is a kind of request, and what its answer must be.
type Shape struct {
	Name    string // for people
	Method  string
	Path    string
	Body    int           // so many random bytes are sent, and the answer must contain their SHA-256 in hexadecimal
	Unread  bool          // the app need not prove that it has read the body: its answer contains no SHA-256
	Length  int64         // the answer's body must be so long; 0 = any length
	Timeout time.Duration // 0 = the load's
	Weight  int           // how often it is sent, beside the other shapes; 0 = 1
	Check   func(status int, header http.Header, body []byte) error
}

// Get is a GET whose answer must be 200.
func Get(path string) Shape {
	return Shape{Name: "GET " + path, Method: http.MethodGet, Path: path}
}

// Post is a POST of size random bytes, whose answer must be 200 and contain their SHA-256.
func Post(path string, size int) Shape {
	return Shape{Name: "POST " + path, Method: http.MethodPost, Path: path, Body: size}
}

// Stream is a GET whose answer must be 200 and length bytes long.
func Stream(path string, length int64) Shape {
	return Shape{Name: "GET " + path, Method: http.MethodGet, Path: path, Length: length}
}

// Pattern is Stream with a body that counts from 0 to 255 again and again, so that not a byte of it can be another's.
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

// judge says what is wrong with an answer that came whole.
func (s *Shape) judge(status int, header http.Header, body []byte, digest string) (Failure, error) {
	switch {
	case status >= 500:
		return ServerError, fmt.Errorf("status %d", status)
	case s.Check == nil && status != http.StatusOK:
		return Wrong, fmt.Errorf("status %d", status)
	case s.Length > 0 && int64(len(body)) != s.Length:
		return Wrong, fmt.Errorf("the body has %d bytes instead of %d", len(body), s.Length)
	case digest != "" && !bytes.Contains(body, []byte(digest)):
		return Wrong, fmt.Errorf("the answer does not contain the digest of what was sent")
	}
	if s.Check != nil {
		if err := s.Check(status, header, body); err != nil {
			return Wrong, err
		}
	}
	return None, nil
}
