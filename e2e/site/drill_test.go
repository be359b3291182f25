package site

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// drilled is the part of `drill --json` that the tests read.
type drilled struct {
	OK       bool   `json:"ok"`
	Mode     string `json:"mode"`
	Address  string `json:"address"`
	Verdict  string `json:"verdict"`
	Sent     int    `json:"sent"`
	Lost     int    `json:"lost"`
	InKilled int    `json:"in_killed_worker"`
	Changes  []struct {
		Kind   string `json:"kind"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"changes"`
	Losses []loss   `json:"losses"`
	Broken []string `json:"broken_promises"`
}

type loss struct {
	Change string `json:"change"`
	Cause  string `json:"cause"`
	Advice string `json:"advice"`
	Apart  bool   `json:"in_killed_worker"`
}

func drillOf(t *testing.T, c *harness.Command) (d drilled) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.Stdout()), &d); err != nil {
		t.Fatalf("%s: %v\n%s", c, err, c.Text())
	}
	return d
}

func (d *drilled) kinds() string {
	kinds := make([]string, len(d.Changes))
	for i, c := range d.Changes {
		kinds[i] = c.Kind
	}
	return strings.Join(kinds, ", ")
}

func TestADrillOfAGoodAppPassesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	a := harness.New(
		t, run, harness.Options{More: "[hooks]\nbefore = \"false\"\n[process.background]\ncommand = \"false\"\n"},
	)
	a.Releases("r1", "r2")
	c := a.Command(
		"drill", "--switches", "1", "--path", "/", "--post", "/echo", "--json", "--report", a.Path("drill.html"),
	).Want(0)
	d := drillOf(t, c)
	if !d.OK || d.Mode != "copy" || d.Lost != 0 || d.Sent == 0 || len(d.Broken) > 0 || d.Address == a.Address {
		t.Errorf("%+v", d)
	}
	if got := d.kinds(); got != "switch, rollback, reload, kill worker, kill daemon, upgrade, broken release" {
		t.Errorf("it did: %s", got)
	}
	for _, ch := range d.Changes {
		if !ch.OK || ch.Kind == "broken release" && !strings.Contains(ch.Detail, "refused: prove") {
			t.Errorf("%+v", ch)
		}
	}
	page, err := os.ReadFile(a.Path("drill.html"))
	if err != nil || !strings.Contains(string(page), "Passed:") {
		t.Errorf("the page: %v\n%s", err, page)
	}
	for _, dir := range []string{"state", "run", "tmp"} {
		if left, err := os.ReadDir(a.Path(dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
	a.NothingLeft()
}

// hasty is a server that ends at once at its stop signal.
const hasty = `
import os, signal, socket, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

server = ThreadingHTTPServer(("127.0.0.1", 0), Page, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
`

func TestADrillReportsLostRequestsWithTheirCause(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{
		Server: harness.Server{Command: "python hasty.py"},
		Web:    `drain_connections = "0s"`, // its stop signal does not wait for answers
	})
	a.Releases("r1") // with one release, reloads stand for switches
	a.WriteFile("releases/r1/hasty.py", hasty)
	c := a.Command("drill", "--switches", "1", "--path", "/slow", "--json").Want(1)
	d := drillOf(t, c)
	if d.OK || d.Lost == 0 || len(d.Broken) > 0 || !strings.Contains(d.Verdict, "lost, in 6 changes") {
		t.Errorf("%+v", d)
	}
	for _, l := range d.Losses {
		if l.Apart != (l.Change == "kill -9 of a worker") {
			t.Errorf("counted in the wrong place: %+v", l)
		}
	}
	at := slices.IndexFunc(d.Losses, func(l loss) bool { return l.Change == "reload of r1" })
	if at < 0 ||
		!strings.Contains(d.Losses[at].Cause, "ended at SIGTERM without finishing its requests") ||
		!strings.Contains(d.Losses[at].Advice, "stop_signal") {
		t.Errorf("%+v", d.Losses)
	}
	a.NothingLeft()
}

func TestALiveDrillGoesThroughTheProxyAndRestoresTheRelease(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Front: harness.NginxTCP})
	a.Releases("r1", "r2")
	a.Start("r1")
	a.Command("switch", "r2").Want(0)
	a.Command("drill", "--live").Want(2).Says("there is no terminal to ask for confirmation: add --yes")
	a.Command("drill", "--live", "--yes", "--kills").Want(2).Says("does not run in a unit superctl@.service")
	a.Command(
		"drill", "--live", "--yes", "--via", "http://192.0.2.1",
	).Want(2).Says("192.0.2.1 is not this machine, and a drill sends no load to others")
	_, front := a.Target()
	was := a.Daemon.PID()
	d := drillOf(
		t,
		a.Command(
			"drill", "--live", "--yes", "--via", "http://"+front, "--path", "/", "--post", "/echo", "--switches", "1",
			"--json",
		).Want(0),
	)
	if !d.OK || d.Mode != "live" || d.Address != front || d.kinds() != "switch, rollback, reload, upgrade" {
		t.Errorf("%+v", d)
	}
	st := a.Status()
	if st.Release != "r2" || st.Previous != "r1" || st.PID == was {
		t.Errorf("%+v", st)
	}
	kill(t, st.PID) // none that the harness has started
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}

func TestADrillThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	c := a.Begin("drill")
	c.Await("before any change")
	c.Interrupt()
	c.Wait().Want(1).Says("the copy is gone", "interrupted; the drill was cleaned up")
	a.NothingLeft()
	if left, err := os.ReadDir(a.Path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
