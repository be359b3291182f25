package maintenance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// Limits of a connection. A client that sends nothing must not hold one for ever.
const (
	headerTime = 10 * time.Second         // for a client to send its request's head
	answerTime = 30 * time.Second         // for a client to read the page
	finishTime = headerTime + time.Second // for the connections that are open at the end
)

// Inherited returns the listeners that the process was started with (LISTEN_FDS).
func Inherited() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("inherited listeners: %w", err)
	}
	for i, l := range all {
		if l == nil {
			return nil, fmt.Errorf("descriptor %d is not a listening socket", i+3)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no listeners were inherited: the daemon runs this command, see superctl maintenance --help")
	}
	return all, nil
}

// Serve answers on the listeners until ctx ends or a listener fails, then finishes the connections
// that it has accepted, and closes the listeners.
func (p Page) Serve(ctx context.Context, listeners []net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: headerTime, WriteTimeout: answerTime,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	server.SetKeepAlivesEnabled(false)
	told := ctx
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var serving, open sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { fail(server.Serve(speaking{l, &open})) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close() // its Serve returns the error
	}
	serving.Wait()
	// Server.Shutdown would drop a request whose head arrives meanwhile. Each connection ends after
	// one answer, or at its limits.
	finished := make(chan struct{})
	go func() { open.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(finishTime):
	}
	_ = server.Close() // clients that are still slow are cut off
	<-finished
	if told.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
