package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"superctl/supervisor/worker"
)

func TestValuesOfVariablesAreTakenOutOfText(t *testing.T) {
	credential := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(credential, []byte("credential-Value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Plan{Hooks: Hooks{Env: []string{"HOOK_TOKEN=hooktoken"}}, Processes: []Process{{
		Env: []string{
			`SECRET_KEY=pa"ss\w'rd<&`, "SHORT_PASSWORD=abcd", "DATABASE_URL=postgres://shop:p%40ssw0rd@db/shop",
			"SENTRY=https://0123456789abcdef@o1.sentry.io/2",
			"PEM=-----BEGIN\nMIIEvQIBADAN\n-----END", "X=Qw3-rTy", "DJANGO_SETTINGS_MODULE=shop.settings.production",
			"DEBUG=0", "PORT=8000", "MODE=production",
			"MEDIA=/srv/shop/media", "HOST=db.example.com:5432", "OURS=Of-Superctl-1", "RELEASES=Of-Release-1",
			"TINY_KEY=abc",
		},
		Secrets: worker.Secrets{"CREDENTIAL": credential},
		EnvFrom: map[string]string{"OURS": "superctl", "RELEASES": "release"},
	}}}
	r := redactorOf(&p)
	for given, want := range map[string]string{
		`key 'pa"ss\w'rd<&'`:                    "key '***'",
		`key 'pa"ss\\w\'rd<&'`:                  "key '***'", // as repr() of Python
		`"pa\"ss\\w'rd\u003c\u0026"`:            `"***"`,
		"?key=pa%22ss%5Cw%27rd%3C%26&x":         "?key=***&x",
		"pa&#34;ss\\w&#39;rd&lt;&amp;":          "***",
		"abcd":                                  "***",
		"auth failed: p@ssw0rd":                 "auth failed: ***",
		"postgres://shop:p%40ssw0rd@db/shop":    "***",
		"key 0123456789abcdef refused":          "key *** refused",
		"line MIIEvQIBADAN":                     "line ***",
		"Qw3-rTy hooktoken credential-Value":    "*** *** ***",
		"No module shop.settings.production":    "No module shop.settings.production",
		"production 8000 0 /srv/shop/media abc": "production 8000 0 /srv/shop/media abc",
		"db.example.com:5432":                   "db.example.com:5432",
		"Of-Superctl-1 Of-Release-1":            "Of-Superctl-1 Of-Release-1",
		"\x1b[31mQw3-rTy\x1b[0m":                "***",
	} {
		if got := r.Text(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestWhatAHookSaysOfAValueIsKeptAndSentWithoutIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		const canary = "cAnArY-7f3a"
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan {
			p.Hooks = Hooks{
				Env: []string{"SECRET_KEY=" + canary}, Before: [][]string{{"migrate"}}, OnAbort: [][]string{{"abort"}},
				Timeout: p.Probation,
			}
			return p
		}
		w.says = func(_ worker.Command, line func(string)) { line("\x1b]0;x\aThe key " + canary + " is wrong") }
		told := ""
		tell := func(text string) { w.set(func() { told += text }) }
		w.hooks = func(_ context.Context, c worker.Command) error {
			if c.Args[0] == "migrate" {
				return errors.New("no database at " + canary)
			}
			for _, kv := range c.Env {
				if strings.HasPrefix(kv, "SUPERCTL_ERROR=") {
					tell(kv)
				}
			}
			return nil
		}
		w.options = func(o *Options) {
			o.Tell = func(out Outcome) {
				data, _ := json.Marshal(out)
				tell(string(data))
			}
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		out, err := s.Change(t.Context(), Request{Kind: Switch, Release: "r1"}, func(ev Event) {
			tell(fmt.Sprintf("%+v\n", ev))
		})
		if err != nil || out.Result != Aborted {
			t.Fatalf("%+v %v", out, err)
		}
		synctest.Wait()
		for _, v := range []any{out, w.records, s.Status()} {
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			tell(string(data))
		}
		state, err := os.ReadFile(filepath.Join(dir, stateName))
		if err != nil {
			t.Fatal(err)
		}
		tell(string(state))
		if strings.Contains(told, canary) || strings.ContainsAny(told, "\x1b\a") || strings.Contains(told, `\u001b`) {
			t.Errorf("it is told:\n%s", told)
		}
		for _, want := range []string{"The key *** is wrong", "SUPERCTL_ERROR=before: hook", "no database at ***"} {
			if !strings.Contains(told, want) {
				t.Errorf("nothing says %q:\n%s", want, told)
			}
		}
	})
}
