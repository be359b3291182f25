package servers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheOptionThatBindsAnAddressIsNamed(t *testing.T) {
	release := t.TempDir()
	for name, text := range map[string]string{
		"gunicorn.conf.py": "workers = 2\nbind = '0.0.0.0:9000'\n",
		"uwsgi.ini":        "[uwsgi]\nmodule = shop\nhttp-socket = /run/shop/app.sock\n",
	} {
		if err := os.WriteFile(filepath.Join(release, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ command, running, env, address, text, from string }{
		{
			"./wrap", "python venv/bin/gunicorn --bind 127.0.0.1:8000 shop", "", "127.0.0.1:8000",
			"--bind 127.0.0.1:8000",
			"",
		},
		{
			"./wrap", "python venv/bin/gunicorn --bind=127.0.0.1:8000 shop", "", "127.0.0.1:8000",
			"--bind=127.0.0.1:8000",
			"",
		},
		{"./wrap", "python venv/bin/gunicorn -b127.0.0.1:8000 shop", "", "127.0.0.1:8000", "-b127.0.0.1:8000", ""},
		{"uvicorn shop:app --port 8000", "", "", "127.0.0.1:8000", "--port 8000", ""},
		{"gunicorn shop", "", "GUNICORN_CMD_ARGS=-b :8000", "0.0.0.0:8000", "-b :8000", "GUNICORN_CMD_ARGS"},
		{"gunicorn shop", "", "", "0.0.0.0:9000", "bind", "gunicorn.conf.py:2"},
		{"uwsgi --ini uwsgi.ini", "", "", "unix:/run/shop/app.sock", "http-socket", "uwsgi.ini:3"},
		{
			"gunicorn --bind unix:run/app.sock shop", "", "", "unix:/srv/shop/run/app.sock", "--bind unix:run/app.sock",
			"",
		},
		{"gunicorn --timeout 80 shop", "", "", "127.0.0.1:8000", "", ""},
	} {
		b, found := FindBinding(Input{Command: strings.Fields(c.command), Release: release, Env: []string{c.env}},
			strings.Fields(c.running), c.address)
		if b.Text != c.text || b.From != c.from || found != (c.text != "") {
			t.Errorf("%s, %s: %+v", c.command, c.running, b)
		}
	}
}

func TestACommandWithoutListenerSupportIsKnown(t *testing.T) {
	for command, says := range map[string]string{
		"flask --app shop run":                 "gunicorn",
		"/venv/bin/python /venv/bin/flask run": "gunicorn",
		"fastapi run shop.py":                  "uvicorn",
		"python manage.py runserver":           "gunicorn",
		"python -m http.server":                "files only",
		"gunicorn shop":                        "",
		"flask db upgrade":                     "",
	} {
		if got := TakesNone(strings.Fields(command)); !strings.Contains(got, says) || says == "" && got != "" {
			t.Errorf("%s: %q", command, got)
		}
	}
}
