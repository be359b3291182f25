package site

import (
	"os"
	"testing"

	"superctl/e2e/harness"
)

func TestASignalMakesGunicornReopenItsLog(t *testing.T) {
	t.Parallel()
	server := harness.GunicornSync()
	a := harness.New(
		t, run, harness.Options{More: "[process.idle]\ncommand = [\"sleep\", \"infinity\"]\nready_after = \"0s\""},
	)
	log := a.Path("access.log")
	server.Command = "gunicorn --workers 2 --access-logfile " + log + " shop.wsgi"
	a.Options.Server = server
	a.WriteConfig()
	a.Releases("r1")
	a.Start("r1")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	a.Command("signal", "web", "USR1").Want(0).Says("sent USR1 to web.0 of r1 (generation ")
	harness.Eventually(t, "requests are logged in a new file", func() bool {
		ask(t, a, "GET", "/", "")
		st, err := os.Stat(log)
		return err == nil && st.Size() > 0
	})
	a.Command("signal", "idle", "SIGUSR1").Want(1).Says("it does not handle SIGUSR1, which would end it")
	a.Command("signal", "webb", "usr1").Want(2).Says(`there is no process "webb": the live release has web, idle`)
}
