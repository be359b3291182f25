//go:build linux

// Package web serves a page that shows all apps of a host: what is live, what their users get from
// the old and the new release, and what has changed. It asks the daemons while a page is open, keeps
// the last ten minutes in memory, and can change nothing.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"path"
	"time"

	"superctl/api"
	"superctl/host"
	"superctl/host/serve"
)

// Limits of one page that is open.
const (
	writeTime = 10 * time.Second // how long a client may take to read an answer or one event
	maxPages  = 64               // pages that are open at the same time
)

//go:embed assets
var assets embed.FS

// Source is where a page has its figures from.
type Source struct {
	// Measure returns the figures of all apps of the host, as host.Measure does.
	Measure func(ctx context.Context) ([]host.Measured, error)
	// History returns the newest changes of an app, as host.History does.
	History func(ctx context.Context, a *host.App) ([]api.PastChange, error)
}

// ParseAddress parses an address that only processes of this host can connect to. The page has no
// passwords, so everything else is an error.
func ParseAddress(text string) (serve.Address, error) {
	at, err := serve.Parse(text, serve.Example{TCP: "127.0.0.1:9180", Unix: "unix:/run/superctl-web/web.sock"})
	if err == nil && !at.IsLocal() {
		return at, fmt.Errorf(
			"%s: other hosts could connect, and the page has no password: listen on 127.0.0.1:9180 or a unix socket, "+
				"and put nginx with a password in front (docs/watching.md)", text,
		)
	}
	return at, err
}

// Serve serves the page until ctx ends. It calls ready with the address when it accepts connections,
// and tells systemd.
func Serve(ctx context.Context, at serve.Address, source Source, ready func(at string)) error {
	ctx, stop := context.WithCancel(ctx)
	w := newWatch(source)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	err := at.Serve(ctx, &http.Server{Handler: handler(w), WriteTimeout: writeTime}, ready)
	stop()
	<-ended
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// handler returns the handler of the page: its files, and the events that keep it up to date.
func handler(w *watch) http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Glob(assets, "assets/*")
	if err != nil {
		panic(err) // the pattern is valid
	}
	for _, name := range files {
		at := "/" + path.Base(name)
		if at == "/index.html" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, file(name))
	}
	mux.HandleFunc("GET /events", w.events)
	return guarded(mux)
}

// policy allows the page nothing but its own files and events.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guarded refuses requests under another name than this host's. A page of another site could
// otherwise lead its own name to 127.0.0.1, and read this one as a part of that site (DNS rebinding).
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if !ownName(r.Host) {
			http.Error(w, "This page answers only as localhost. Behind nginx, leave proxy_set_header Host out: "+
				"nginx then sends the name of proxy_pass.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether a Host header names this host by its loopback address.
func ownName(header string) bool {
	name := header
	if host, _, err := net.SplitHostPort(header); err == nil {
		name = host
	} else if len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']' {
		name = name[1 : len(name)-1]
	}
	return serve.IsLoopback(name)
}

// file serves an embedded file. A browser asks each time whether it is still the same.
func file(name string) http.Handler {
	data, err := assets.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" {
		kind = "text/javascript; charset=utf-8" // whatever the host's table says
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", kind)
		_, _ = w.Write(data) // the client is gone
	})
}
