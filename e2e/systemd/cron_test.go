package systemd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
)

// job is a scheduled command. It notes for which time it runs, in which control group, whether it can get
// more rights, and whether it can write outside of its app. Then it does what the file mode says.
const job = `no_new=$(sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)
if touch /etc/written 2>/dev/null; then etc=writable; else etc=read-only; fi
echo "$SUPERCTL_DUE $(sed -n 's/^0:://p' /proc/self/cgroup) $no_new $etc" >>/srv/shop/ran
case $(cat /srv/shop/mode) in
wait) sleep 1234 & wait ;;
fail) echo "the disk is full"; exit 3 ;;
esac
`

// scheduled is a site with a command that is due every five seconds.
func scheduled(t *testing.T) *Site {
	t.Helper()
	s := newSite(t, Options{}, "r1")
	must(t, os.WriteFile(filepath.Join(s.dir, "srv", "job.sh"), []byte(job), 0o644))
	s.mode(t, "end")
	s.Edit(t, "[process.web]", "[notify.team]\nservice = \"webhook\"\nurl = \"http://127.0.0.1:8099/\"\non = [\"cron\"]\n\n"+
		"[cron.job]\nschedule = \"*:*:0/5\"\ncommand = \"sh /srv/shop/job.sh\"\n\n[process.web]")
	return s
}

// mode says what the next runs do.
func (s *Site) mode(t *testing.T, word string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.dir, "srv", "mode"), []byte(word), 0o644))
}

// ran returns what the runs have noted, a line for each.
func (s *Site) ran(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "srv", "ran"))
	if os.IsNotExist(err) {
		return nil
	}
	must(t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// cron returns what superctl cron says of the command.
func (s *Site) cron(t *testing.T) api.CronStatus {
	t.Helper()
	var list []api.CronStatus
	r := s.Superctl("cron", "--json").Want(0)
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil || len(list) != 1 {
		t.Fatalf("superctl cron: %v\n%s", err, r.Text())
	}
	return list[0]
}

// waiting is a run that waits: the time that it is for, and its process.
type waiting struct{ due, pid string }

// waits waits until a run waits.
func (s *Site) waits(t *testing.T) (w waiting) {
	t.Helper()
	harness.Eventually(t, "a run of the command waits", func() bool {
		running := s.cron(t).Running
		if len(running) != 1 || running[0].Due == nil {
			return false
		}
		w.due = dueText(running[0].Due)
		w.pid = strings.TrimSpace(s.Run("pgrep", "-fx", "sleep 1234").Stdout)
		return w.pid != ""
	})
	return w
}

// ended fails the test unless a run was ended with its daemon, and left nothing. The next run waits, so
// that it does not take the place of the last result.
func (s *Site) ended(t *testing.T, when string, w waiting) {
	t.Helper()
	harness.Eventually(t, "the notification of a run that ended "+when, func() bool {
		last := s.cron(t).Last
		return last != nil && dueText(last.Due) == w.due && last.Result == api.CronEnded
	})
	if s.Run("test", "-e", "/proc/"+w.pid).Code == 0 {
		t.Errorf("%s: process %s of the run is left", when, w.pid)
	}
}

// dueText is a time as SUPERCTL_DUE has it.
func dueText(due *time.Time) string {
	if due == nil {
		return ""
	}
	return due.UTC().Format(time.RFC3339)
}

func TestAScheduledCommandRunsInTheSandboxOfTheUnitAtMostOnce(t *testing.T) {
	s := scheduled(t)
	s.Run("systemd-run", "--quiet", "--unit", "chat", "python3", "-c", webhook).Want(0)
	s.Start(t, "r1")
	harness.Eventually(t, "the command has run", func() bool { return len(s.ran(t)) > 0 })
	fields := strings.Fields(s.ran(t)[0])
	if len(fields) != 4 || !strings.Contains(fields[1], "/superctl@shop.service/") || fields[2] != "1" || fields[3] != "read-only" {
		t.Errorf("the command ran with %q", fields)
	}
	group := s.Run("sed", "-n", "s/^0:://p", "/proc/"+strconv.Itoa(s.MainPID(t))+"/cgroup").Want(0).Stdout
	if fields[1] == strings.TrimSpace(group) {
		t.Errorf("the command ran in the daemon's control group %s", group)
	}

	s.mode(t, "wait")
	run := s.waits(t)
	s.Run("systemctl", "restart", unit).Want(0)
	s.ended(t, "by a restart", run)

	run = s.waits(t)
	pid := s.MainPID(t)
	s.Signal("KILL")
	s.another(t, pid)
	s.ended(t, "after a kill of the daemon", run)

	s.mode(t, "fail")
	s.Run("systemctl", "restart", unit).Want(0) // it ends the run that waits
	harness.Eventually(t, "the notification of the failure", func() bool {
		for line := range strings.Lines(s.Run("cat", "/run/messages").Stdout) {
			if strings.Contains(line, "the scheduled command job FAILED") && strings.Contains(line, "exit code 3") {
				return true
			}
		}
		return false
	})
	s.mode(t, "end")
	s.Run("systemctl", "stop", unit).Want(0)

	var times []string
	for _, line := range s.ran(t) {
		times = append(times, strings.Fields(line)[0])
	}
	slices.Sort(times)
	if once := slices.Compact(slices.Clone(times)); len(once) != len(times) {
		t.Errorf("a time was run twice: %q", times)
	}
	s.nothingLeft(t)
}

// webhook notes the messages that it gets.
const webhook = `
import http.server, json
class Team(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with open("/run/messages", "a") as f: f.write(message["text"] + "\n")
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8099), Team).serve_forever()
`
