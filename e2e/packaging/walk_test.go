package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/systemd"
)

// freshRoot makes the root of a new Debian server on which the document's commands can run without
// a network: it has what they install with apt and pip.
func freshRoot(t *testing.T, suite, document string) string {
	t.Helper()
	return strings.TrimSpace(script(t, "fresh-root", suite, filepath.Join(top(t), document)))
}

// preparation returns the commands that run before the document's. They make what its reader
// already has.
func preparation(document string) string {
	if document != "README.md" {
		return "true"
	}
	return `git config --system url.file:///srv/git/shop.insteadOf https://git.example.com/shop.git
git config --system safe.directory '*'
mkdir -p /srv/git && cd /srv/git
python3 -m venv /tmp/venv && /tmp/venv/bin/pip install --quiet Django gunicorn
/tmp/venv/bin/django-admin startproject shop
cd shop && /tmp/venv/bin/pip freeze >requirements.txt
sed -i 's/^DEBUG = .*/DEBUG = False/; s/^ALLOWED_HOSTS = .*/ALLOWED_HOSTS = ["shop.example.com", "localhost"]/' shop/settings.py
cat >shop/urls.py <<'PYTHON'
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("healthz/", lambda request: HttpResponse("ok"))]
PYTHON
git init --quiet && git add . && git -c user.name=Shop -c user.email=shop@example.com commit --quiet -m 'A shop'`
}

func TestFollowingADocumentGivesASite(t *testing.T) {
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	deb := debPackage(t)
	for _, c := range []struct{ document, suite string }{
		{"docs/first-site.md", "bookworm"}, // Debian 12
		{"docs/first-site.md", "trixie"},   // Debian 13
		{"README.md", "trixie"},
		{"docs/more-sites.md", "trixie"},
		{"docs/more-sites.md", "bookworm"},
	} {
		if c.document == "docs/more-sites.md" && c.suite == "bookworm" && os.Getenv(suitesVar) != "all" {
			continue
		}
		t.Run(c.document+"/"+c.suite, func(t *testing.T) {
			root := freshRoot(t, c.suite, c.document)
			t.Parallel()
			dir, err := os.MkdirTemp(run.Dir, "sd")
			must(t, err)
			server := systemd.Boot(t, dir, systemd.Machine{
				Root: root, PrivateNet: true,
				Binds: []systemd.Bind{{From: deb, To: "/root/" + filepath.Base(deb)}},
			})
			server.Run("bash", "-euc", preparation(c.document)).Want(0)
			follow(t, server, c.document)
			if c.document == "docs/more-sites.md" {
				return // it asks for its pages itself
			}
			server.Run("python3", "-c",
				"import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/healthz/', headers={'Host': "+
					"'localhost', 'X-Forwarded-Proto': 'https'}))").Want(0)
		})
	}
}
