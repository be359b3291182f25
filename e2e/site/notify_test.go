package site

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"superctl/e2e/harness"
)

// secrets are in files of the app's directory, and must be nowhere else.
var secrets = map[string]string{
	"slack":    "https://hooks.slack.com/services/T0/B0/SLACKSLACKSLACK",
	"teams":    "https://contoso.api.powerplatform.com:443/workflows/0123/triggers/manual/paths/invoke?api-version=1&sig=TEAMSTEAMSTEAMS",
	"discord":  "https://discord.com/api/webhooks/123456789012345678/DISCORDDISCORDDISCORD",
	"hook":     "https://ops.example.com/superctl?key=HOOKHOOKHOOK",
	"newrelic": "NRAK-NEWRELICNEWRELIC",
	"sentry":   "sntrys_SENTRYSENTRYSENTRY",
	"datadog":  "DATADOGDATADOGDATADOG",
	"mail":     "mail-password-0123",
}

// secretOfApp is the value of a variable of the app, which is in the arguments of a hook.
const secretOfApp = "cAnArY-of-app-7f3a"

// toldApp returns an app that notifies all services.
func toldApp(t *testing.T, m *team) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{})
	file := func(key, name string) string {
		a.WriteFile(name+".secret", secrets[name]+"\n")
		return fmt.Sprintf("%s_file = %q\n", key, a.Path(name+".secret"))
	}
	a.Options.More = "[notify.slack]\nservice = \"slack\"\n" + file("url", "slack") +
		"[notify.teams]\nservice = \"teams\"\n" + file("url", "teams") +
		"[notify.discord]\nservice = \"discord\"\n" + file("url", "discord") +
		"[notify.hook]\nservice = \"webhook\"\non = [\"success\", \"abort\", \"revert\"]\n" + file("url", "hook") +
		"[notify.relic]\nservice = \"newrelic\"\nentity = \"MTIzfEFQTXw\"\nregion = \"eu\"\n" + file(
		"token", "newrelic",
	) +
		"[notify.sentry]\nservice = \"sentry\"\norganization = \"example\"\nprojects = [\"shop\"]\n" +
		file("token", "sentry") +
		"[notify.datadog]\nservice = \"datadog\"\nsite = \"datadoghq.eu\"\non = [\"success\"]\n" +
		file("token", "datadog") +
		fmt.Sprintf(
			"[notify.mail]\nservice = \"email\"\nhost = %q\nfrom = \"shop@example.com\"\nto = [\"team@example.com\"]\nusername = \"shop\"\n",
			m.mail.Addr(),
		) + file("password", "mail")
	a.WriteConfig()
	return a
}

// everybody returns the lines of one event for all services that subscribe to it.
func everybody(event, release string) (lines []string) {
	for _, host := range []string{"hooks.slack.com", "contoso.api.powerplatform.com:443", "discord.com", "mail"} {
		lines = append(lines, host+" "+event+" "+release)
	}
	if event != "start" {
		lines = append(lines, "ops.example.com "+event+" "+release)
	}
	return lines
}

// done returns the lines of a successful switch, with the markers.
func done(release string) []string {
	return append(everybody("success", release), "api.eu.newrelic.com success "+release, "api.datadoghq.eu success "+release,
		"sentry.io releases/", "sentry.io releases/"+release+"/deploys/")
}

func both(a, b []string) []string { return append(a, b...) }

func TestEachChangeIsNotifiedOnceInSpiteOfDaemonKills(t *testing.T) {
	t.Parallel()
	m := newTeam(t)
	a := toldApp(t, m)
	a.Options.Env = fmt.Sprintf("SECRET_KEY = %q\n", secretOfApp)
	a.Options.More += fmt.Sprintf(
		"[hooks]\nbefore = [[\"sh\", \"-c\", \"[ $SUPERCTL_RELEASE != broken ]\", \"signed with\", %q]]\n", secretOfApp,
	)
	a.WriteConfig()
	a.Releases("r1", "r2", "broken")
	a.Command("check").Want(0).Says(
		"notify.slack notifies slack: secret in "+a.Path("slack.secret"), "notify.mail notifies email",
	)
	ready := func() {
		t.Helper()
		if err := a.Launch(m.env...).Ready(); err != nil {
			t.Fatalf("%v\n%s", err, a.Daemon.Output())
		}
	}

	// All services are down when the first release goes live, and the daemon is killed.
	m.goDown(true)
	ready()
	a.Command("switch", "r1").Want(0)
	m.awaitAttempts("hooks.slack.com", "discord.com", "sentry.io", "mail")
	harness.Eventually(t, "status says that they fail", func() bool { return len(a.Status().Troubles) == 8 })
	a.Command("status").Want(0).Says("notify.slack:", "answered 503 Service Unavailable; 2 waiting")
	a.Daemon.Kill()
	logs := a.Daemon.Output()
	m.goDown(false)
	ready()
	m.want(both(everybody("start", "r1"), done("r1"))...)
	sameRequests(t, m)
	harness.Eventually(t, "status says nothing any more", func() bool { return len(a.Status().Troubles) == 0 })

	// A refused release. A daemon that stops or starts sends no further notification.
	a.Command("switch", "broken").Want(1)
	m.want(both(everybody("start", "broken"), everybody("abort", "broken"))...)
	m.wantSaid(
		"signed with", "hooks.slack.com", "contoso.api.powerplatform.com:443", "discord.com", "ops.example.com", "mail",
	)
	m.wantNowhere(secretOfApp)
	logs += a.Daemon.Output()
	a.Daemon.Stop()
	ready()

	// A new daemon takes over while all services are down.
	m.goDown(true)
	a.Command("switch", "r2").Want(0)
	m.awaitAttempts("hooks.slack.com")
	a.Command("upgrade").Want(0)
	m.goDown(false)
	m.want(both(everybody("start", "r2"), done("r2"))...)
	noSecrets(t, a, logs+a.Daemon.Output())
	kill(t, a.Status().PID)
	a.Daemon.Wait()
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}

func TestTheEndOfAChangeIsNotifiedOnceAfterADaemonKill(t *testing.T) {
	t.Parallel()
	m := newTeam(t)
	a := toldApp(t, m)
	a.Options.Top = `probation = "100ms"`
	a.WriteConfig()
	a.Releases("r1", "r2", "r3")
	w := &walk{App: a, t: t, faults: t.TempDir()}
	launch := func() {
		t.Helper()
		if err := a.Launch(append(m.env, "SUPERCTL_FAULT="+w.faults)...).Ready(); err != nil {
			t.Fatalf("%v\n%s", err, a.Daemon.Output())
		}
	}
	launch()
	a.Command("switch", "r1").Want(0)
	m.want(both(everybody("start", "r1"), done("r1"))...)
	for _, cut := range []struct {
		at, release string
		told        []string
	}{
		{"switch: after boot", "r2", everybody("abort", "r2")},
		{"switch: before cutover", "r2", everybody("abort", "r2")},
		{"switch: after cutover", "r2", done("r2")},
		{"switch: before probation", "r3", done("r3")},
		{"switch: after retire", "r1", done("r1")},
	} {
		m.goDown(true) // what was answered just before a kill may be sent again
		w.arm(cut.at)
		a.Command("switch", cut.release)
		w.gone()
		m.goDown(false)
		launch()
		m.want(both(everybody("start", cut.release), cut.told)...)
	}
}

// sameRequests compares all requests so far with testdata/notify.txtar.
func sameRequests(t *testing.T, m *team) {
	t.Helper()
	const golden = "testdata/notify.txtar"
	want, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got := new(txtar.Archive)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range want.Files {
		got.Files = append(got.Files, txtar.File{Name: f.Name, Data: []byte(strings.Join(m.asked[f.Name], "\n"))})
	}
	if d := cmp.Diff(string(txtar.Format(want)), string(txtar.Format(got))); d != "" {
		t.Errorf("%s\n%s", d, txtar.Format(got))
	}
}

// noSecrets fails the test if a secret is in the output of the daemons, or in any file but its own.
func noSecrets(t *testing.T, a *harness.App, logs string) {
	t.Helper()
	look := func(where, text string) {
		for name, secret := range secrets {
			if strings.Contains(text, secret[len(secret)-12:]) {
				t.Errorf("the secret of %s is in %s", name, where)
			}
		}
	}
	look("the log", logs)
	err := filepath.WalkDir(a.Path("state"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, string(data))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
