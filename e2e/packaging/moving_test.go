package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// suitesVar = all runs each tutorial on Debian 12 and on Debian 13, instead of on one of them.
const suitesVar = "SUPERCTL_E2E_SUITES"

// tutorial is a document about a site that something else than superctl runs when it begins.
type tutorial struct {
	document     string
	suite        string
	before       string // script in testdata/moving-in that starts what the reader has
	domain, path string // of the requests while the document's commands run
	commands     int    // that the reader types until superctl runs the site
}

func tutorials() []tutorial {
	return []tutorial{
		{"docs/moving-in/gunicorn.md", "trixie", "gunicorn.sh", "orders.example.com", "/", 3},
		{"docs/moving-in/uvicorn.md", "bookworm", "uvicorn.sh", "prices.example.com", "/", 3},
		{"docs/moving-in/capistrano.md", "bookworm", "capistrano.sh", "blog.example.com", "/", 2},
		{"docs/moving-in/uwsgi.md", "trixie", "uwsgi.sh", "blog.example.com", "/", 2},
		{"docs/moving-in/supervisord.md", "trixie", "supervisord.sh", "shop.example.com", "/catalogue/", 6},
		{"docs/moving-in/procfile.md", "trixie", "procfile.sh", "notes.example.com", "/", 3},
		{"docs/moving-in/kamal.md", "trixie", "kamal.sh", "board.example.com", "/", 7},
	}
}

// kamalProxy returns the kamal-proxy that bench compares superctl with.
func kamalProxy(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(script(t, "deps", "--kamal-proxy"))
}

// movingRoot makes the root file system of a server with the projects of testdata/moving-in.
func movingRoot(t *testing.T, suite string) string {
	t.Helper()
	return strings.TrimSpace(script(t, "moving-root", suite))
}

// script runs a script of scripts/, and returns its standard output.
func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(top(t), "scripts", name), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("scripts/%s: %v\n%s", name, err, stderr.String())
	}
	return stdout.String()
}

// debs builds the package for Debian, once for all tests.
var debs = sync.OnceValues(func() (string, error) {
	return filepath.Join(run.Dir, "deb"), makePackages("deb", filepath.Join(run.Dir, "deb"), "0.1")
})

// debPackage returns the path of the package for Debian.
func debPackage(t *testing.T) string {
	t.Helper()
	dir, err := debs()
	must(t, err)
	return only(t, filepath.Join(dir, "0.1"), "superctl_*.deb")
}

func TestMovingInLosesNoRequest(t *testing.T) {
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	deb := debPackage(t)
	t.Parallel()
	for _, c := range tutorials() {
		suites := []string{c.suite}
		if os.Getenv(suitesVar) == "all" {
			suites = []string{"bookworm", "trixie"}
		}
		for _, suite := range suites {
			t.Run(strings.TrimSuffix(filepath.Base(c.document), ".md")+"/"+suite, func(t *testing.T) {
				root := movingRoot(t, suite)
				t.Parallel()
				moveIn(t, c, root, deb)
			})
		}
	}
}

// oldServer boots a server on which the site of a tutorial runs, and the package is in /root.
func oldServer(t *testing.T, c tutorial, root, deb string) *systemd.Sandbox {
	t.Helper()
	dir, err := os.MkdirTemp(run.Dir, "sd")
	must(t, err)
	binds := []systemd.Bind{{From: deb, To: "/root/" + filepath.Base(deb)}, clientBind(t)}
	if c.before == "kamal.sh" {
		binds = append(binds, systemd.Bind{From: kamalProxy(t), To: "/usr/local/bin/kamal-proxy"})
	}
	server := systemd.Boot(t, dir, systemd.Machine{Root: root, PrivateNet: true, Binds: binds})
	script, err := os.ReadFile(filepath.Join("testdata", "moving-in", c.before))
	must(t, err)
	server.Run("bash", "-euc", string(script)).Want(0)
	serves := func() bool {
		return server.Run("curl", "--silent", "--fail", "--header", "Host: "+c.domain, "http://127.0.0.1"+c.path).Code == 0
	}
	harness.Eventually(t, "the old server answers", serves)
	return server
}

func moveIn(t *testing.T, c tutorial, root, deb string) {
	server := oldServer(t, c, root, deb)
	users := startUsers(server, c.domain, c.path)
	began := time.Now()
	follow(t, server, c.document)
	took := time.Since(began)
	r := users.stop(t)
	if r.Lost > 0 || r.Error != "" || r.Requests == 0 {
		t.Errorf("%d of %d requests were lost: %s %s", r.Lost, r.Requests, r.Text, r.Error)
	}
	server.Run("superctl", "status", "--exit-code").Want(0)
	t.Logf("%s: %d commands, %.0f s, %d requests, %d lost", c.document, typed(t, c.document), took.Seconds(), r.Requests, r.Lost)
}

func TestATutorialNeedsNoMoreCommandsThanItSays(t *testing.T) {
	for _, c := range tutorials() {
		if got := typed(t, c.document); got != c.commands {
			t.Errorf("%s: the move takes %d commands, want %d", c.document, got, c.commands)
		}
	}
}

// typed counts the commands of a document up to its section "After the move". What only looks is not
// counted: curl, and superctl's own status.
func typed(t *testing.T, document string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top(t), document))
	must(t, err)
	move, _, found := strings.Cut(string(data), "\n## After the move\n")
	if !found {
		t.Fatalf("%s has no section %q", document, "After the move")
	}
	n := 0
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(move, -1) {
		text := strings.ReplaceAll(block[1], "\\\n", " ")
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "curl ") {
				n++
			}
		}
	}
	return n
}

func TestABuildThatFailsLeavesTheOldServerAsItWas(t *testing.T) {
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	c := tutorials()[0]
	root, deb := movingRoot(t, c.suite), debPackage(t)
	t.Parallel()
	server := oldServer(t, c, root, deb)
	server.Run("bash", "-c", "apt-get install -y /root/superctl_*.deb").Want(0)
	server.Run("runuser", "-u", "orders", "--", "sh", "-c", "echo no-such-package==1 >>/srv/orders/requirements.txt").Want(0)
	files := func() string {
		return server.Run("sh", "-c", "ls -A --ignore=.cache /srv/orders /etc/superctl /etc/systemd/system /var/tmp; "+
			"systemctl show --property MainPID,UnitFileState orders superctl@orders").Want(0).Stdout
	}
	before := files()
	server.Run("superctl", "takeover", "orders", "--build", "--apply").Want(1).
		Says("no-such-package").Says("nothing was changed").Says("serves as before")
	if after := files(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
