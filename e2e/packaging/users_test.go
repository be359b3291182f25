package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"superctl/e2e/systemd"
	"superctl/load"
)

// clientPath is where a server has this test binary, which sends requests as the site's users: the
// server's network is its own.
const clientPath = "/usr/local/bin/site-users"

// clientBind gives a server the client.
func clientBind(t *testing.T) systemd.Bind {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return systemd.Bind{From: self, To: clientPath}
}

// usersResult is what the client reports.
type usersResult struct {
	Requests, Lost int
	Text           string
	Error          string
}

// siteUsers are the users of a site, on its server.
type siteUsers struct {
	stdin io.WriteCloser
	wait  func() error
	out   bytes.Buffer
}

// startUsers sends requests to the server's nginx, each on a new connection.
func startUsers(s *systemd.Sandbox, domain, path string) *siteUsers {
	u := &siteUsers{}
	u.stdin, u.wait = s.Start(&u.out, clientPath, "__load", domain, path)
	return u
}

// stop waits for some more requests, and ends.
func (u *siteUsers) stop(t *testing.T) usersResult {
	t.Helper()
	must(t, u.stdin.Close())
	must(t, u.wait())
	var r usersResult
	if err := json.Unmarshal(u.out.Bytes(), &r); err != nil {
		t.Fatalf("the load client: %v\n%s", err, u.out.String())
	}
	return r
}

// loadClient is the client, if the arguments say so: __load DOMAIN PATH.
func loadClient() {
	if len(os.Args) != 4 || os.Args[1] != "__load" {
		return
	}
	r, err := sendRequests(os.Args[2], os.Args[3])
	if err != nil {
		r.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func sendRequests(domain, path string) (usersResult, error) {
	run, err := load.Start(load.Config{
		Network: "tcp", Address: "127.0.0.1:80", Host: domain, Rate: 25, Clients: 4,
		Shapes: []load.Shape{load.Get(path)}, Timeout: time.Minute,
	})
	if err != nil {
		return usersResult{}, err
	}
	defer run.Stop()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return usersResult{}, err
	}
	err = run.WaitMore(context.Background(), 25)
	res := run.Stop()
	return usersResult{Requests: len(res.Records), Lost: len(res.Failed()), Text: fmt.Sprint(res)}, err
}
