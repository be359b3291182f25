// Package packaging tests what packaging/ ships, on a machine with a real systemd.
package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

var run *harness.Run

func TestMain(m *testing.M) {
	loadClient()
	harness.Guardian()
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}

const unit = "superctl@shop.service"

// top returns the directory of superctl's sources.
func top(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// smallServer needs only Python. It answers on the listener that superctl passes.
const smallServer = `import http.server
import socket


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket = socket.socket(fileno=3)


Server(("", 0), http.server.SimpleHTTPRequestHandler).serve_forever()
`

// smallConfig is the config of a site that runs smallServer.
const smallConfig = `app       = "shop"
releases  = "/srv/shop/releases"
current   = "/srv/shop/current"
probation = "0s"

[listen.web]
address = "ADDRESS"

[process.web]
command = "python serve.py"
listen  = ["web"]
[process.web.health]
path = "/"
`

// machine is a machine without superctl. /root/deploy has a config and bundles; the bundle named
// broken does not work.
type machine struct {
	*systemd.Sandbox
	address string // of the config
}

// machineDir returns a directory for the files of a machine of a parallel test.
func machineDir(t *testing.T) string {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	dir, err := os.MkdirTemp(run.Dir, "sd")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func bareMachine(t *testing.T, bundles []string, binds ...systemd.Bind) *machine {
	t.Helper()
	dir := machineDir(t)
	files := filepath.Join(dir, "deploy")
	must(t, os.Mkdir(files, 0o755))
	m := &machine{address: systemd.FreeAddress(t)}
	must(t,
		os.WriteFile(filepath.Join(files, "shop.toml"), []byte(strings.Replace(smallConfig, "ADDRESS", m.address, 1)),
			0o644))
	for _, version := range bundles {
		code := smallServer
		if version == "broken" {
			code = "import nothing_that_is_there\n"
		}
		smallBundle(t, files, version, code)
	}
	m.Sandbox = systemd.Boot(t, dir,
		systemd.Machine{Binds: append(binds, systemd.Bind{From: files, To: "/root/deploy", Writable: true})})
	return m
}

// smallBundle builds shop-VERSION.tar.zst for the interpreter of the test servers.
func smallBundle(t *testing.T, into, version, code string) {
	t.Helper()
	project := t.TempDir()
	for name, text := range map[string]string{
		"serve.py": code, "requirements.txt": "",
		"pyproject.toml": "[project]\nname = \"shop\"\nversion = \"0\"\n",
	} {
		must(t, os.WriteFile(filepath.Join(project, name), []byte(text), 0o644))
	}
	must(t,
		os.WriteFile(filepath.Join(project, "superctl.toml"),
			[]byte("[build]\nfiles = [\"serve.py\", \"requirements.txt\"]\nlock = \"requirements.txt\"\n"), 0o644))
	python, err := filepath.EvalSymlinks(filepath.Join(run.Apps.Cache, "bin", "python"))
	must(t, err)
	if out, err := exec.Command(run.Binary, "build", "--name", "shop", "--version", version, "--python", python,
		"--output", into, project).CombinedOutput(); err != nil {
		t.Fatalf("superctl build: %v\n%s", err, out)
	}
}
