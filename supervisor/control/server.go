package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// What one peer can ask of the daemon at the most.
const (
	mostConnections = 256
	requestLimit    = 64 << 10
	headerTime      = 5 * time.Second
	bodyTime        = 10 * time.Second
	idleTime        = 10 * time.Second
	writeTime       = 10 * time.Second
)

// Server serves a Controller on a unix socket.
type Server struct {
	path string
	file os.FileInfo // of the socket, so that only our own is removed
	l    net.Listener
	http *http.Server
}

// Listen opens the control socket, for the daemon's user and for group (-1 = the daemon's own). A socket that nobody
// answers on is what a killed daemon has left, and is replaced; anything else at that path is left alone.
func Listen(path string, gid int, c Controller) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the socket has the rights, not its directory
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(path, 0o660)
	if err == nil && gid >= 0 {
		err = os.Chown(path, -1, gid)
	}
	var st os.FileInfo
	if err == nil {
		st, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close(), os.Remove(path))
	}
	s := &Server{path: path, file: st, l: limit(l, mostConnections)}
	s.http = &http.Server{
		Handler: handler{c}.mux(), ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
		ErrorLog: nil,
	}
	return s, nil
}

// removeStale removes the socket of a daemon that is no more.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket: %s is not a socket; it is left alone: move it away, or set `control` to another path", path)
	}
	dial := net.Dialer{Timeout: time.Second}
	conn, err := dial.DialContext(context.Background(), "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("control socket: another daemon answers on %s", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("control socket: %w", err)
	}
	return os.Remove(path)
}

// Serve answers until ctx ends; then it lets the requests that are in progress end.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the control socket: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	err := s.http.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-ended //nolint:errcheck // it is http.ErrServerClosed
	if st, lost := os.Lstat(s.path); lost == nil && os.SameFile(st, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

type handler struct{ c Controller }

func (h handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, h.status)
	mux.HandleFunc("POST "+pathChange, h.change)
	mux.HandleFunc("POST "+pathLogs, h.logs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("this daemon speaks version %s of the control API and knows no %s %s", Version, r.Method, r.URL.Path), http.StatusNotFound)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(versionHeader, Version)
		r.Body = http.MaxBytesReader(w, r.Body, requestLimit)
		mux.ServeHTTP(w, r)
	})
}

func (h handler) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h.c.Status()) // the peer is gone
}

// read reads a request's JSON; what is not understood is an error, not ignored.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		// What has been read is all there is, and the connection is watched from here on: its end is the client's hanging up.
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		http.Error(w, "the request cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// lines writes JSON values line by line, each at once. A peer that does not read is given up after writeTime.
func lines(w http.ResponseWriter) func(any) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // a change may take longer than a request may
	enc := json.NewEncoder(w)
	return func(v any) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
		if err := enc.Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	}
}
