package install

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoErrorOfADownloadShowsASecret(t *testing.T) {
	const canary = "cAnArY-7f3a"
	for name, c := range map[string]struct {
		prepare func(t *testing.T, home string)
		word    func(address string) string // of the bundle
		answer  func(w http.ResponseWriter)
		want    string
	}{
		"a password in the address": {
			word:   func(address string) string { return strings.Replace(address, "://", "://shop:"+canary+"@", 1) },
			answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, want: "403",
		},
		"a password in an address that cannot be parsed": {
			word: func(address string) string { return strings.Replace(address, "://", "://shop:"+canary+"%zz@", 1) },
			want: "cannot be read",
		},
		"a presigned address": {
			word:   func(address string) string { return address + "?X-Amz-Signature=" + canary },
			answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, want: "403",
		},
		"a redirect to a presigned address that cannot be parsed": {
			answer: func(w http.ResponseWriter) {
				w.Header().Set("Location", "https://bucket.example/%zz?X-Amz-Signature="+canary)
				w.WriteHeader(http.StatusFound)
			}, want: "redirects to an address that cannot be parsed",
		},
		"a redirect to plain http": {
			answer: func(w http.ResponseWriter) {
				w.Header().Set("Location", "http://shop:"+canary+"@bucket.example/x?X-Amz-Signature="+canary)
				w.WriteHeader(http.StatusFound)
			}, want: "http://bucket.example/x",
		},
		"a password of netrc": {
			prepare: func(t *testing.T, home string) {
				put(t, home, ".netrc", "machine 127.0.0.1 login shop password "+canary+"\n")
			},
			answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, want: "403",
		},
		"a netrc that cannot be read": {
			prepare: func(t *testing.T, home string) {
				put(t, home, ".netrc",
					"machine 127.0.0.1 passwort "+canary+"\n")
			}, want: "line 1",
		},
		"an S3 endpoint that cannot be parsed": {
			prepare: func(t *testing.T, _ string) { t.Setenv("AWS_ENDPOINT_URL", "https://shop:"+canary+"@%zz") },
			word:    func(string) string { return "s3://bucket/key" }, want: "AWS_ENDPOINT_URL",
		},
		"a credentials file that cannot be parsed": {
			prepare: func(t *testing.T, home string) {
				put(t, home, ".aws/credentials", "[shop]\naws_secret_access_key\n"+canary+"\n")
				t.Setenv("AWS_PROFILE", "shop")
			},
			word: func(string) string { return "s3://bucket/key" }, want: "AWS_PROFILE=shop",
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("NETRC", "")
			if c.prepare != nil {
				c.prepare(t, home)
			}
			s := serve(t, func(w http.ResponseWriter, r *http.Request, s *server) {
				if c.answer == nil {
					well(w, r, s)
					return
				}
				c.answer(w)
			})
			word := s.URL + "/shop-1.0.tar.zst"
			if c.word != nil {
				word = c.word(word)
			}
			o := options(t)
			var events strings.Builder
			o.Event = func(ev Event) { events.WriteString(ev.Detail + "\n") }
			_, err := Install(t.Context(), word, o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v does not say %q", err, c.want)
			}
			if told := err.Error() + events.String(); strings.Contains(told, canary) {
				t.Errorf("it is shown: %s", told)
			}
		})
	}
}

func put(t *testing.T, home, name, content string) {
	t.Helper()
	path := filepath.Join(home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
