package control

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"superctl/api"
)

// asked serves requests and returns a function for the last one.
func asked(t *testing.T) (path string, last func() api.Request) {
	var req api.Request
	path = serve(t, &app{change: func(_ context.Context, r api.Request, _ emitter) (*api.Outcome, error) {
		req = r
		return &api.Outcome{Result: api.Done}, nil
	}})
	return path, func() api.Request { return req }
}

func TestARequestHasTheClientsAddressAndThePeersUser(t *testing.T) {
	path, last := asked(t)
	t.Setenv("SSH_CONNECTION", "203.0.113.7 50000 192.0.2.1 22")
	t.Setenv("SUDO_USER", "anna")
	req := api.Request{Kind: api.Switch, Who: "the king", Origin: api.Origin{
		Run: "20261129-1", Behalf: "bob", From: "the moon", Peer: &api.Peer{UID: 1 << 30},
	}}
	if _, err := NewClient(path, "shop").Change(t.Context(), req, func(api.Event) {}); err != nil {
		t.Fatal(err)
	}
	req = last()
	if req.Run != "20261129-1" || req.Behalf != "bob" {
		t.Errorf("its run: %+v", req.Origin)
	}
	if req.From != "203.0.113.7" || int(req.Peer.UID) != os.Getuid() || strings.Contains(req.Who, "king") {
		t.Errorf("%+v", req)
	}
	// If the kernel knows the login user, the claim is ignored.
	if want := req.Peer.Login == nil; (req.SudoUser == "anna") != want {
		t.Errorf("sudo by %q, login %v", req.SudoUser, req.Peer.Login)
	}
}

func TestAClaimIsAnAddressOrANameOrIgnored(t *testing.T) {
	path, last := asked(t)
	for claim, want := range map[string]string{
		"203.0.113.7": "203.0.113.7", "2001:db8::7": "2001:db8::7",
		"fe80::1%eth0": "fe80::1", "::ffff:192.0.2.1": "192.0.2.1",
		"evil.example": "", "1.2.3.4 \x1b[2J": "", "localhost": "", strings.Repeat("9", 5000): "",
	} {
		body := strings.NewReader("{}")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://superctl"+pathChange, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header[fromHeader], req.Header[sudoHeader] = []string{claim}, []string{claim}
		resp, err := NewClient(path, "shop").http.Do(req)
		if err != nil { // the transport refuses to send it
			if want != "" {
				t.Errorf("%q: %v", claim, err)
			}
			continue
		}
		_ = resp.Body.Close()
		if got := last().From; got != want {
			t.Errorf("%q is taken for %q", claim, got)
		}
		if name := last().SudoUser; strings.ContainsAny(name, " \x1b%:") || len(name) > maxNameLength {
			t.Errorf("%q calls itself %q", claim, name)
		}
	}
}

// FuzzClaim checks that any claim is reduced to one short word.
func FuzzClaim(f *testing.F) {
	f.Add("203.0.113.7", "anna")
	f.Fuzz(func(t *testing.T, host, name string) {
		for _, got := range []string{claimedHost(host), claimedUser(name)} {
			if len(got) > maxNameLength || len(strings.Fields(got)) > 1 || strings.ContainsAny(got, "\x00\x1b\n\"") {
				t.Errorf("%q", got)
			}
		}
	})
}

func TestTheSSHAddressIsReadFromAncestors(t *testing.T) {
	if host := sshClient([]string{"A=b", "SSH_CLIENT=2001:db8::7 50000 22"}); host != "2001:db8::7" {
		t.Errorf("%q", host)
	}
	if parentOf(os.Getpid()) != os.Getppid() {
		t.Errorf("%d, want %d", parentOf(os.Getpid()), os.Getppid())
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo; exec sleep 600")
	cmd.Env = []string{"SSH_CONNECTION=203.0.113.9 1 2 3"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Start returns before the kernel has set the new environment.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if host := sshClient(readEnviron(cmd.Process.Pid)); host != "203.0.113.9" {
		t.Errorf("%q", host)
	}
}
