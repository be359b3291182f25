package site

import (
	"fmt"
	"os"
	"testing"

	"superctl/e2e/harness"
)

// redirecting creates a release whose middleware redirects every request without TLS.
func redirecting(t *testing.T, a *harness.App, name string) {
	t.Helper()
	a.Releases(name)
	path := a.Path("releases", name, "shop", "settings.py")
	settings, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = settings.WriteString("MIDDLEWARE.insert(0, \"django.middleware.security.SecurityMiddleware\")\n" +
		"SECURE_SSL_REDIRECT = True\nSECURE_PROXY_SSL_HEADER = (\"HTTP_X_FORWARDED_PROTO\", \"https\")\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := settings.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestChecksOfAllKindsMustPass(t *testing.T) {
	t.Parallel()
	const checks = `scheme = "https"

[[process.web.health.check]]
kind = "tcp"

[[process.web.health.check]]
kind = "exec"
command = ["python", "-c", "import os, sys; sys.exit(os.path.exists('closed') and 'the shop is closed')"]
`
	a := harness.New(t, run, harness.Options{
		Server: harness.GunicornThreads(), Top: `user = "root"`, Health: checks,
	})
	redirecting(t, a, "r1")
	redirecting(t, a, "r2")
	redirecting(t, a, "closed")
	a.WriteFile("releases/closed/closed", "")
	a.Start("r1")
	a.Command("switch", "r2").Want(0)
	a.Options.Health = "unhealthy_after = \"100ms\"\n" + checks
	a.WriteConfig()
	a.Command("switch", "closed").Want(1).Says("the shop is closed", "r2 is still live, untouched")
	a.Options.Health = `unhealthy_after = "100ms"`
	a.WriteConfig()
	a.Command("switch", "r1").Want(1).Says("301", `scheme = "https"`, "r2 is still live, untouched")
}

// The health check is a view that hangs while a file is missing, like a view that waits for a lock.
// The other views answer.
func TestAHungWorkerIsReplacedWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	free := a.Path("free")
	a.Options.Health = fmt.Sprintf(
		"path = \"/slow?s=0&until=%s\"\nalways = true\nalways_interval = \"1s\"\nalways_failures = 2\ntimeout = \"500ms\"\n",
		free,
	)
	a.WriteConfig()
	a.WriteFile("free", "")
	a.Releases("r1")
	a.Start("r1")
	before := a.Live(a.Status()).Workers[0].PID
	requests := a.Load(requestsOfAFewUsers())
	if err := os.Remove(free); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the worker is about to be replaced", func() bool {
		c := a.Status().Changing
		return c != nil && c.Kind == "restart"
	})
	a.WriteFile("free", "") // its successor finds the lock free
	harness.Eventually(t, "another worker serves", func() bool {
		st := a.Status()
		return st.Changing == nil && st.Health == "ok" && len(st.Generations) == 1 &&
			a.Live(st).Workers[0].PID != before
	})
	a.More(requests, 10)
	a.Lossless(requests)
	a.Command("history").Want(0).Says("restart", "the health check")
}
