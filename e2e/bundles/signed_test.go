package bundles

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

// TestOnlyASignedFlaskSiteIsDeployed deploys a Flask site with a uv.lock to a server that
// trusts one key. Keys and signatures are compatible with minisign in both directions.
func TestOnlyASignedFlaskSiteIsDeployed(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	flaskProject(t, dir)
	key := filepath.Join(out, "shop")
	if said, err := exec.Command(run.Binary, "keygen", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	one := build(t, 0, cache(), dir, "--version", "1.0", "-o", out, "--sign", key+".key").File
	two := build(t, 0, cache(), dir, "--version", "2.0", "-o", out).File
	minisign(t, "-V", "-q", "-m", one, "-p", key+".pub")
	minisign(t, "-S", "-s", key+".key", "-m", two)

	a := site(t, "flaskshop",
		harness.Options{
			Server: harness.Server{Command: "gunicorn --threads 4 shop:app"},
			More:   "[trust]\nkeys = [\"" + key + ".pub\"]",
		})
	a.Start("")
	offline(t, a, 0, "deploy", one)
	requests := a.Load(load.Config{Rate: 40, Clients: 8, Shapes: []load.Shape{load.Get("/"), load.Get("/healthz/")}})
	forged := filepath.Join(out, "forged.tar.zst")
	content, err := os.ReadFile(two)
	must(t, err)
	signature, err := os.ReadFile(two + ".minisig")
	must(t, err)
	content[len(content)/2] ^= 1
	must(t, os.WriteFile(forged, content, 0o600))
	if d := offline(t, a, 1, "deploy", forged); !strings.Contains(d.Error, "it is not signed") || d.Changed {
		t.Errorf("not signed: %+v", d)
	}
	must(t, os.WriteFile(forged+".minisig", signature, 0o600))
	if d := offline(t, a, 1, "deploy", forged); !strings.Contains(d.Error, "its signature is invalid") || d.Changed {
		t.Errorf("changed: %+v", d)
	}
	if got := listed(t, a); got != ".superctl 1.0" {
		t.Errorf("there is %s", got)
	}
	if d := offline(t, a, 0, "deploy", two); d.Release != "2.0" || d.Previous != "1.0" {
		t.Errorf("%+v", d)
	}
	a.Command("rollback").Want(0)
	a.Lossless(requests)
}

func minisign(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("minisign", args...)
	cmd.Stdin = strings.NewReader("\n") // the empty password
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("minisign %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}
