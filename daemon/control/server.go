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
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// What one peer can ask of the daemon at the most.
const (
	mostConnections = 256
	requestLimit    = 64 << 10
	headerTime      = 5 * time.Second
	bodyTime        = 10 * time.Second
	idleTime        = 10 * time.Second
	writeTime       = 10 * time.Second
	waiting         = 1024 // events of a change that its client has not read yet
)

// Server serves a Controller on a unix socket.
type Server struct {
	path string
	file os.FileInfo // of the socket, so that only our own is removed
	unix *net.UnixListener
	l    *limited
	http *http.Server
	keep atomic.Bool // the next daemon's by now
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
	l, err := listen(path, gid)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return newServer(path, l, c)
}

// listen makes the socket. Its mode and its group are those from the start, and nothing else gets them.
func listen(path string, gid int) (*net.UnixListener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() //nolint:errcheck // the listener has a duplicate of its own
	if err := beneath.BindUnix(fd, path, 0o660); err != nil {
		return nil, err
	}
	if gid >= 0 {
		err = beneath.ChownSocket(path, -1, gid, nil)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil //nolint:forcetypeassert // it is a unix socket
}

// Inherit goes on with the control socket of an earlier daemon, whose descriptor is the server's from then on: who connects
// while no daemon is there waits and is answered. The error is ErrElsewhere when it is not the socket at path any more.
func Inherit(fd int, path string, c Controller) (*Server, error) {
	file := os.NewFile(uintptr(fd), path)
	l, err := net.FileListener(file) // has a duplicate of its own
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok || u.Addr().String() != path {
		return nil, errors.Join(ErrElsewhere, l.Close())
	}
	// Another socket may have been bound at that path since; nobody reaches ours then.
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeSocket {
		return nil, errors.Join(ErrElsewhere, l.Close())
	}
	return newServer(path, u, c)
}

// ErrElsewhere says that an inherited socket is not the one at the path.
var ErrElsewhere = errors.New("control socket: the one of the earlier daemon is gone")

func newServer(path string, l *net.UnixListener, c Controller) (*Server, error) {
	l.SetUnlinkOnClose(false)
	st, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	s := &Server{path: path, file: st, unix: l, l: limit(l, mostConnections)}
	s.http = &http.Server{
		Handler: handler{c}.mux(), ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
		ConnState: s.l.follow,
	}
	return s, nil
}

// Remove removes the socket of a daemon that is known to be no more. It may still take connections: systemd has it in its store.
func Remove(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode().Type() != fs.ModeSocket {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return os.Remove(path)
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

// Descriptor hands the socket's descriptor to f, which must not keep it.
func (s *Server) Descriptor(f func(fd int) error) error {
	raw, err := s.unix.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

// Keep leaves the socket to the next daemon: this one takes no more connections, and the socket stays where it is when Serve
// ends.
func (s *Server) Keep() {
	s.keep.Store(true)
	_ = s.unix.SetDeadline(time.Unix(1, 0)) // ends Accept; it fails only when the socket is closed
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
	if s.keep.Load() {
		return err
	}
	if st, lost := os.Lstat(s.path); lost == nil && os.SameFile(st, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

type handler struct{ c Controller }

func (h handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, h.status)
	mux.HandleFunc("GET "+pathEnvironment, h.environment)
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

func (h handler) environment(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h.c.Environment()) // the peer is gone
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
