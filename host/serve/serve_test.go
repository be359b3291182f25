//go:build linux

package serve

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestALocalAddressIsOneOfThisHost(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "LOCALHOST:1": true, "unix:/run/x": true,
		"0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "127.0.0.1.example:1": false,
	} {
		a, err := Parse(text, Example{})
		if err != nil || a.IsLocal() != want {
			t.Errorf("%s: local %t, %v", text, a.IsLocal(), err)
		}
	}
}

func TestAnAddressInUseNamesItsHolder(t *testing.T) {
	for _, text := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "web.sock")} {
		first, err := Parse(text, Example{})
		if err != nil {
			t.Fatal(err)
		}
		first.InUse = func(string) error { return nil }
		ctx, stop := context.WithCancel(t.Context())
		at, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- first.Serve(ctx, new(http.Server), func(served string) { at <- served }) }()
		second := first
		second.address = <-at
		second.InUse = func(address string) error { return fmt.Errorf("%s is in use by superctl (pid 7)", address) }
		err = second.Serve(ctx, new(http.Server), func(string) { t.Errorf("%s is served twice", text) })
		if err == nil || !strings.Contains(err.Error(), second.address+" is in use by superctl (pid 7)") {
			t.Errorf("%s: %v", text, err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
