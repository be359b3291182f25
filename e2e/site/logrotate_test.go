package site

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// rotated is a server that writes its own log, and its file in packaging/logrotate.
type rotated struct{ name, command, file, log string }

func TestRotatingALogLosesNoLineAndNoRequest(t *testing.T) {
	const rotations = 3
	for _, c := range []rotated{
		{
			"gunicorn", "gunicorn --worker-class gthread --workers 2 --threads 4 --access-logfile /var/log/shop/access.log bare.wsgi",
			"gunicorn", "access.log",
		},
		{
			"uwsgi", "uwsgi --master --need-app --workers 2 --http-socket fd://{fd.web} --module bare.wsgi " +
				"--logto2 /var/log/shop/uwsgi.log --log-master --touch-logreopen /var/log/shop/reopen",
			"uwsgi", "uwsgi.log",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{})
			dir := a.Path("log")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			a.WriteFile("log/reopen", "")
			a.Options.Server.Command = strings.ReplaceAll(c.command, "/var/log/shop", dir)
			a.WriteConfig()
			a.Releases("r1")
			a.Start("r1")
			requests := a.Load(load.Config{Shapes: []load.Shape{load.Get("/")}})
			for range rotations {
				harness.Eventually(t, "the second of the last touch is over", func() bool { return touchable(a.Path("log/reopen")) })
				c.rotate(t, a)
				harness.Eventually(t, "the new file gets lines", func() bool {
					st, err := os.Stat(filepath.Join(dir, c.log))
					return err == nil && st.Size() > 0
				})
				a.More(requests, 50)
			}
			res := requests.Stop()
			if len(res.Failed()) > 0 {
				t.Errorf("lost requests: %v", res)
			}
			harness.Eventually(t, "each request is a line", func() bool { return c.lines(t, dir) == len(res.Records) })
			a.Command("status").Want(0).Says("r1, ok")
		})
	}
}

// touchable says whether uWSGI would notice a touch of the file now. It compares whole seconds, so it does not
// see a second touch in the same second, or one in the second in which the file was made. A daily rotation is never so fast.
func touchable(file string) bool {
	st, err := os.Stat(file)
	return err != nil || time.Now().Unix() > st.ModTime().Unix()
}

// rotate runs logrotate with the packaged file, for the app's paths and user.
func (c rotated) rotate(t *testing.T, a *harness.App) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "packaging", "logrotate", c.file))
	if err != nil {
		t.Fatal(err)
	}
	a.WriteFile("logrotate.conf", strings.NewReplacer("/var/log/shop", a.Path("log"), "su shop shop", "",
		"superctl --app shop", a.Binary+" --config "+a.Config).Replace(string(text)))
	cmd := exec.Command("/usr/sbin/logrotate", "--force", "--state", a.Path("logrotate.state"), a.Path("logrotate.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("logrotate: %v\n%s", err, out)
	}
}

// lines counts the requests in the log and in all rotated files.
func (c rotated) lines(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, c.log+"*"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("zcat", append([]string{"--force"}, files...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), "GET / ")
}
