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
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Limits on what one peer can ask of the daemon.
const (
	maxConnections = 256
	requestLimit   = 512 << 10 // the largest is a maintenance page, in base64
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 10 * time.Second
	idleTimeout    = 10 * time.Second
	writeTimeout   = 10 * time.Second
	eventBuffer    = 1024 // buffered events of a change that its client has not read
)

// Server serves a Controller on a unix socket.
type Server struct {
	path string
	gid  int // of the group that may use the socket; -1 = the daemon's own
	l    *limitedListener
	http *http.Server

	mu         sync.Mutex
	file       os.FileInfo // guarded by mu: of the socket, so that only our own is removed
	leftToNext bool        // guarded by mu: the socket now belongs to the next daemon
}

// Listen opens the control socket for the daemon's user and for group gid (-1 = the daemon's own).
// It replaces a socket on which no process listens, as a killed daemon leaves it, and refuses to
// replace anything else.
func Listen(path string, gid int, c Controller) (*Server, error) {
	l, err := place(path, gid)
	if err != nil {
		return nil, err
	}
	return newServer(path, gid, l, c)
}

// place creates the socket and its directory, and replaces the socket of a dead daemon.
func place(path string, gid int) (*net.UnixListener, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755) // the socket has the access rights, not its directory
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := listen(path, gid)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// listen creates the socket with its final mode and group.
func listen(path string, gid int) (*net.UnixListener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
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
	return l.(*net.UnixListener), nil // it is a unix socket
}

// Inherit takes over the control socket of an earlier daemon and owns its descriptor: clients that
// connected while no daemon ran have waited and are answered. The error is ErrElsewhere if the
// socket is no longer the one at path. gid is Listen's.
func Inherit(fd int, path string, gid int, c Controller) (*Server, error) {
	file := os.NewFile(uintptr(fd), path)
	l, err := net.FileListener(file) // holds a duplicate
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok || u.Addr().String() != path {
		return nil, errors.Join(ErrElsewhere, l.Close())
	}
	// Another socket may have been bound at the path since; clients would not reach ours.
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeSocket {
		return nil, errors.Join(ErrElsewhere, l.Close())
	}
	return newServer(path, gid, u, c)
}

// ErrElsewhere is the error when an inherited socket is not the one at the path.
var ErrElsewhere = errors.New("control socket: the earlier daemon's socket is gone")

func newServer(path string, gid int, l *net.UnixListener, c Controller) (*Server, error) {
	l.SetUnlinkOnClose(false)
	st, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	s := &Server{path: path, gid: gid, file: st, l: limit(l, maxConnections)}
	s.http = &http.Server{
		Handler: handler{c, s.left, &tokens{}}.mux(), MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			ctx = context.WithValue(ctx, connKey{}, conn)
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
		ConnState: s.l.connState,
	}
	return s, nil
}

// Remove removes the socket of a daemon that is known to be dead. The socket may still accept
// connections, because systemd's store holds it.
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

// removeStale removes the socket of a dead daemon.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket: %s is not a socket: move it away, or set `control` to another path", path)
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

// Descriptor passes the socket's descriptor to f, which must not keep it.
func (s *Server) Descriptor(f func(fd int) error) error {
	raw, err := s.l.current().SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

// LeaveToNext leaves the socket to the next daemon: this one accepts no more connections, and does
// not remove the socket when Serve returns.
func (s *Server) LeaveToNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leftToNext = true
	_ = s.l.current().SetDeadline(time.Unix(1, 0)) // ends Accept; it fails only when the socket is closed
}

func (s *Server) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leftToNext
}

// Mend creates the socket again if its path no longer leads to it, because a directory cleaner
// removed it for instance, and reports whether it did. Open connections are not affected.
func (s *Server) Mend() (mended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leftToNext || s.reachable() {
		return false, nil
	}
	l, err := place(s.path, s.gid)
	if err != nil {
		return false, err
	}
	file, err := os.Lstat(s.path)
	if err == nil {
		err = s.l.replace(l)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("control socket: %w", err), l.Close(), os.Remove(s.path))
	}
	s.file = file
	return true, nil
}

// reachable reports whether the path leads to the socket. s.mu is held.
func (s *Server) reachable() bool {
	st, err := os.Lstat(s.path)
	return err == nil && os.SameFile(st, s.file)
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// Serve answers requests until ctx ends, then waits for those in progress. A client whose connection
// was accepted until then gets its answer: http.Server.Shutdown drops a request that it reads after
// its beginning, so it does not begin before all have been read.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the control socket: %w", err)
	case <-ctx.Done():
	}
	err := s.l.Close()
	served := <-ended
	s.l.unheard.Wait() // not longer than headerTimeout
	grace, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	down := s.http.Shutdown(grace)
	if errors.Is(down, context.DeadlineExceeded) {
		down = s.http.Close()
	}
	err = errors.Join(err, down)
	if !errors.Is(served, net.ErrClosed) {
		err = errors.Join(err, served)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leftToNext && s.reachable() {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

type handler struct {
	c Controller
	// left reports whether the next daemon answers requests by now.
	left   func() bool
	tokens *tokens
}

func (h handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, h.status)
	mux.HandleFunc("GET "+pathMeasures, h.measures)
	mux.HandleFunc("GET "+pathHistory, h.history)
	mux.HandleFunc("GET "+pathEnvironment, h.environment)
	mux.HandleFunc("POST "+pathChange, h.change)
	mux.HandleFunc("POST "+pathGo, h.goAhead)
	mux.HandleFunc("POST "+pathLock, h.lock)
	mux.HandleFunc("POST "+pathReport, h.report)
	mux.HandleFunc("POST "+pathLogs, h.logs)
	mux.HandleFunc("POST "+pathSignal, h.signal)
	mux.HandleFunc("POST "+pathCron, h.cron)
	mux.HandleFunc("POST "+pathAttach, h.attach)
	mux.HandleFunc("POST "+pathCancel, h.cancel)
	mux.HandleFunc("POST "+pathWithdraw, h.withdraw)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("unknown request %s %s: this daemon speaks version %s of the control API",
			r.Method, r.URL.Path, Version), http.StatusNotFound)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(connKey{}).(*limitedConn).heard()
		w.Header().Set(versionHeader, Version)
		if p, _ := r.Context().Value(peerKey{}).(peer); !p.may(r) {
			http.Error(w, "the user "+viewer+" may only look at what runs", http.StatusForbidden)
			return
		}
		if own, means := h.c.App(), r.Header.Get(appHeader); means != "" && means != own {
			w.Header().Set(appHeader, own)
			http.Error(w, "this is the daemon of the app "+own, http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, requestLimit)
		mux.ServeHTTP(w, r)
	})
}

func (h handler) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, h.c.Status())
}

func (h handler) measures(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, h.c.Measures())
}

func (h handler) history(w http.ResponseWriter, _ *http.Request) {
	list, err := h.c.History()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, list)
}

func (h handler) environment(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, h.c.Environment())
}

// writeJSON answers with a value. An error is that the peer is gone.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// readJSON decodes a request's JSON. An unknown field is an error.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		// Read the request to its end: only then does the server watch the connection and cancel
		// the context when the client hangs up.
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		http.Error(w, "the request cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// lineWriter returns a function that writes and flushes one JSON value as a line. A peer that does
// not readJSON for writeTimeout is given up.
func lineWriter(w http.ResponseWriter) func(any) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // a change may take longer than the limit of a request
	enc := json.NewEncoder(w)
	return func(v any) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := enc.Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	}
}
