// Command goshop is the site as a Go program. It serves on its inherited descriptor. On SIGTERM it
// finishes its requests and exits.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.FileListener(os.NewFile(3, "web"))
	if err != nil {
		return err
	}
	handler, err := sayClose(site())
	if err != nil {
		return err
	}
	server := http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ended <- server.Shutdown(context.Background()) // superctl's drain limits it
	}()
	if err := server.Serve(l); err != http.ErrServerClosed { //nolint:errorlint // as it is documented
		return err
	}
	return <-ended
}

// sayClose does what docs/long-lived-connections.md asks of programs.
func sayClose(next http.Handler) (http.Handler, error) {
	path := os.Getenv("SUPERCTL_DRAIN")
	if path == "" {
		return next, nil
	}
	flag, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1)
		if n, _ := flag.ReadAt(b, 0); n == 1 && b[0] == 1 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	}), nil
}

func site() http.Handler {
	release := os.Getenv("SUPERCTL_RELEASE")
	mux := http.NewServeMux()
	answer := func(path string, body func(*http.Request) (string, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			text, err := body(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("X-Release", release)
			w.Header().Set("X-Generation", os.Getenv("SUPERCTL_GENERATION"))
			w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
			_, _ = io.WriteString(w, text) // the client may be gone
		})
	}
	answer("GET /{$}", func(*http.Request) (string, error) { return release, nil })
	answer("GET /healthz/", func(*http.Request) (string, error) { return "ok", nil })
	answer("GET /slow", func(r *http.Request) (string, error) {
		seconds, err := strconv.ParseFloat(r.FormValue("s"), 64)
		<-time.After(time.Duration(seconds * float64(time.Second)))
		for until := r.FormValue("until"); until != "" && !exists(until); {
			<-time.After(20 * time.Millisecond)
		}
		return release, err
	})
	pattern := make([]byte, 2<<20)
	for i := range pattern {
		pattern[i] = byte(i)
	}
	answer("GET /stream", func(*http.Request) (string, error) { return string(pattern), nil })
	answer("POST /echo", func(r *http.Request) (string, error) {
		sum := sha256.New()
		_, err := io.Copy(sum, r.Body)
		return fmt.Sprintf("%x", sum.Sum(nil)), err
	})
	return mux
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
