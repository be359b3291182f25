package redact

import "testing"

func TestTheLogOfAnAppLosesLongValuesAlone(t *testing.T) {
	var known Secrets
	known.Variable("SECRET_KEY", "cAnArY-7f3a")
	known.Variable("SESSION_COOKIE_SECURE", "True")
	known.Secret("pa\"ss-w0rd")
	r := known.Redactor()
	for given, want := range map[string]string{
		"\x1b[31mSECRET_KEY=cAnArY-7f3a\x1b[0m": "\x1b[31mSECRET_KEY=***\x1b[0m",
		"DEBUG = True":                          "DEBUG = True",
		`{"password":"pa\"ss-w0rd"}`:            `{"password":"***"}`,
	} {
		if got := r.Logged(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
	if got := r.Text("True"); got != "***" {
		t.Errorf("a report has %q", got)
	}
}

func TestARedactorThatKnowsNothingChangesNothing(t *testing.T) {
	var none *Redactor
	var known Secrets
	for _, r := range []*Redactor{none, known.Redactor()} {
		if got := r.Logged("a line\t") + r.Text("of text"); got != "a line\tof text" {
			t.Errorf("got %q", got)
		}
	}
}
