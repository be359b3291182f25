package site

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// ask sends one request to the site and returns its answer, which must be 200.
func ask(t *testing.T, a *harness.App, method, path, body string) string {
	t.Helper()
	network, address := a.Target()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://shop"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v\n%s", method, path, resp.Status, err, text)
	}
	return string(text)
}

func TestAnUploadSurvivesASwitchAndARollback(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Server: harness.GunicornThreads()})
	a.Options.More = fmt.Sprintf("[shared]\nmedia = %q\n", a.Path("media"))
	a.WriteConfig()
	a.Releases("r1", "r2")
	a.Release("r3", apps.Behaviour{})
	for _, dir := range []string{
		a.Path("media"), a.Path("releases", "r2", "media"), a.Path("releases", "r3", "media"),
	} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.WriteFile("releases/r2/media/.gitkeep", "")
	a.WriteFile("releases/r3/media/logo.png", "")
	a.Command("check", "r2").Want(0).Says("share", "tried without media, which a switch links")
	a.Start("r1")
	ask(t, a, "POST", "/media/photo", "a face")
	a.Command("switch", "r2").Want(0).Says("share", "media -> "+a.Path("media"))
	if got := ask(t, a, "GET", "/media/photo", ""); got != "a face" {
		t.Errorf("after the switch it is %q", got)
	}
	for _, command := range []string{"switch", "check"} {
		a.Command(command, "r3").Want(1).Says("share: shared.media: release r3 brings a directory with logo.png at " + a.Path("releases", "r3", "media"))
	}
	a.Command("reload").Want(0)
	a.Command("rollback").Want(0)
	if got := ask(t, a, "GET", "/media/photo", ""); got != "a face" {
		t.Errorf("after the rollback it is %q", got)
	}
	a.Command("history", "--output").Want(0).Says("share")
	if err := os.Rename(a.Path("media"), a.Path("lost")); err != nil {
		t.Fatal(err)
	}
	a.Command("switch", "r2").Want(1).Says(
		"shared.media: "+a.Path("media")+" does not exist: install -d -o ", "r1 is still live",
	)
}
