package site

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/proc"
)

// everythingTold returns all that superctl writes: the daemon's log, the files in the app's
// directory except the operator's, the arguments of all processes, and the output of commands.
func everythingTold(t *testing.T, a *harness.App) map[string]string {
	t.Helper()
	told := map[string]string{"the daemon's log": a.Daemon.Output()}
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"status", "--env"},
		{"check"},
		{"history", "--json", "--output"},
		{"history", "show"},
		{"history", "--output"},
		{"releases"},
		{"logs"},
		{"logs", "--json"},
		{"switch", "nonsense"},
	} {
		told["superctl "+strings.Join(args, " ")] = a.Command(args...).Text()
	}
	for _, dir := range []string{"state", "run"} {
		err := filepath.WalkDir(a.Path(dir), func(path string, d os.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && keepsValues(path):
				return filepath.SkipDir
			case !d.Type().IsRegular():
				return nil
			}
			data, err := os.ReadFile(path)
			told[path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	pids, err := proc.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		args, _ := proc.Args(pid) // fails if the process has ended
		told["arguments"] += strings.Join(args, "\x00")
	}
	return told
}

// keepsValues reports whether a directory is one of those in memory, and only there, that keep values for
// the next daemon.
func keepsValues(dir string) bool {
	var fs unix.Statfs_t
	return slices.Contains([]string{".secrets", ".environment"}, filepath.Ext(dir)) && unix.Statfs(dir, &fs) == nil &&
		fs.Type == unix.TMPFS_MAGIC
}

func TestNoSecretIsPrintedStoredOrSent(t *testing.T) {
	var mu sync.Mutex
	var sent strings.Builder
	chat := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		sent.Write(body)
	}))
	t.Cleanup(chat.Close)
	const inFile, inConfig, inherited, ofHook = "cAnArY-in-File-7f3a", "cAnArY-in-Config-9b1c", "cAnArY-Inherited-5d2e", "cAnArY-of-Hook-3c4d"
	a := harness.New(t, run, harness.Options{})
	hook := a.Path("hook.sh")
	a.WriteFile("hook.sh", `#!/bin/sh
printf '\033]0;owned\007%s\n' "SECRET_KEY='$SECRET_KEY'" "$DATABASE_URL" "$TOKEN $INHERITED" "$PEM" >&2
[ "$SUPERCTL_RELEASE" != r2 ] || exit 1
`)
	if err := os.Chmod(hook, 0o755); err != nil {
		t.Fatal(err)
	}
	a.WriteFile("hook.secret", chat.URL+"/"+ofHook+"\n")
	file := fmt.Sprintf(
		"SECRET_KEY=%[1]s\nDATABASE_URL=postgres://shop:%[1]s@db/shop\nPEM=\"-----BEGIN-----\n%[1]s\n-----END-----\"\n",
		inFile,
	)
	a.WriteFile("env", file)
	a.Options.Top = fmt.Sprintf("env_file = %q\ninherit = [\"INHERIT*\"]\n", a.Path("env"))
	a.Options.Env = fmt.Sprintf("TOKEN = %q\nWHERE = \"{release}/{generation}\"\nFILES = \"{scratch}\"\n", inConfig)
	a.Options.More = fmt.Sprintf(
		"[hooks]\nbefore = [[%q]]\n[notify.hook]\nservice = \"webhook\"\nurl_file = %q\n", hook, a.Path("hook.secret"),
	)
	a.WriteConfig()
	a.Releases("r1", "r2", "r3")
	t.Setenv("INHERITED", inherited)
	launch := func() {
		t.Helper()
		if err := a.Launch("INHERITED=" + inherited).Ready(); err != nil {
			t.Fatalf("%v\n%s", err, a.Daemon.Output())
		}
	}
	launch()
	output := func(c *harness.Command) *harness.Command {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		sent.WriteString(c.Text())
		return c
	}
	output(a.Command("switch", "r1")).Want(0)
	env := environ(t, a)
	generation := a.Live(a.Status()).ID
	for name, value := range map[string]string{
		"SECRET_KEY": inFile, "TOKEN": inConfig, "INHERITED": inherited, "WHERE": fmt.Sprintf(
			"r1/%d", generation,
		), "FILES": a.Path("run", fmt.Sprintf("%s.scratch/g%d", a.Name, generation)),
	} {
		if env[name] != value {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
	output(a.Command("switch", "r2")).Want(1).Says("SECRET_KEY='***'")
	a.WriteFile("env", file+"SECRET-KEY="+inFile+"\n"+inFile+"\n1"+inFile+"=\""+inFile)
	output(a.Command("switch", "r3")).Want(0).Says("env:6:1: ignored")
	a.WriteFile("env", file)

	// The next daemon starts workers with the secrets that this one read.
	a.WriteFile("env", "SECRET_KEY=another\n")
	daemon := a.Daemon.Output()
	a.Daemon.Kill()
	launch()
	worker := a.Live(a.Status()).Workers[0].PID
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "another worker serves", func() bool {
		live := a.Live(a.Status())
		return len(live.Workers) > 0 && live.Workers[0].PID != worker && live.Workers[0].PID != 0 &&
			live.Workers[0].State == "ready"
	})
	if got := environ(t, a)["SECRET_KEY"]; got != inFile {
		t.Errorf("a worker that the next daemon has started has %q", got)
	}

	harness.Eventually(t, "the chat is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(sent.String(), `"event"`) >= 5
	})
	told := everythingTold(t, a)
	mu.Lock()
	told["sent and said"], told["the first daemon's log"] = sent.String(), daemon
	mu.Unlock()
	for where, text := range told {
		for _, secret := range []string{inFile, inConfig, inherited, ofHook} {
			if at := strings.Index(text, secret); at >= 0 &&
				(secret != inConfig || !strings.HasSuffix(where, "/config.toml")) {
				t.Errorf("%s has %s: %q", where, secret, text[max(at-200, 0):at+len(secret)])
			}
		}
		if strings.HasPrefix(where, "superctl ") && strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("%s has escapes: %q", where, text)
		}
	}
}
