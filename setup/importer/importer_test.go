package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/rogpeppe/go-internal/txtar"

	"superctl/setup"
)

// corpus returns the files of testdata, in shapes that public projects have.
func corpus(t testing.TB) []File {
	t.Helper()
	var files []File
	for _, name := range []string{"units.txtar", "files.txtar"} {
		archive, err := txtar.ParseFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			files = append(files, File{f.Name, string(f.Data)})
		}
	}
	return files
}

// mustCount returns the numbers of the lines that a report must account for.
func mustCount(f File) (numbers []int) {
	kind := KindOf(f)
	comments := "#;"
	if kind == Gunicorn || kind == Kamal || kind == Procfile {
		comments = "#"
	}
	for i, line := range strings.Split(f.Text, "\n") {
		trimmed := strings.TrimSpace(line)
		section := strings.HasPrefix(trimmed, "[") && strings.Contains(trimmed, "]") && kind != Gunicorn && kind != Kamal
		// a key of a mapping whose entries have lines of their own
		parent := kind == Kamal && strings.HasSuffix(trimmed, ":")
		if trimmed == "" || strings.ContainsRune(comments, rune(trimmed[0])) || section || parent {
			continue
		}
		numbers = append(numbers, i+1)
	}
	return numbers
}

// unaccounted returns what is wrong with how a report accounts for a file's lines.
func unaccounted(f File, lines []setup.Line) error {
	times := map[int]int{}
	for _, l := range lines {
		if l.File != f.Path || l.Text == "" || l.Verdict == "" || l.Verdict != setup.Kept && l.Why == "" ||
			l.Verdict == setup.Kept && l.Key == "" {
			return fmt.Errorf("an incomplete line: %+v", l)
		}
		for n := l.From; n <= l.To; n++ {
			times[n]++
		}
	}
	text := strings.Split(f.Text, "\n")
	for _, n := range mustCount(f) {
		if times[n] != 1 {
			return fmt.Errorf("line %d %q is reported %d times", n, text[n-1], times[n])
		}
	}
	return nil
}

func TestEveryLineOfTheCorpusIsAccountedFor(t *testing.T) {
	files := corpus(t)
	if len(files) < 40 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		t.Run(f.Path, func(t *testing.T) {
			out, err := Source{}.Read(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := unaccounted(f, out.Lines); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoSecretOfTheCorpusIsReported(t *testing.T) {
	secrets := []string{
		"s3cr3t-k3y", "hunter2", "abcdefgh12345678", "a,b=c-very-secret", "letmein", "not-for-your-eyes", "abcdefgh",
		"dont-tell-anyone", "abcdefghijkl",
	}
	for _, f := range corpus(t) {
		out, err := Source{}.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%+v %+v %+v %+v %+v", out.Lines, out.Env, out.Processes, out.DropIn, out.Unit)
		for _, s := range secrets {
			if strings.Contains(shown, s) {
				t.Errorf("%s: %q is in the report: %s", f.Path, s, shown)
			}
		}
	}
}

func TestUnitsAreReadAsGoSystemdReadsThem(t *testing.T) {
	for _, f := range corpus(t) {
		if KindOf(f) != Unit || f.Path == "odd.service" || f.Path == "continued.service" {
			continue // go-systemd refuses the one, and takes a comment in the other for a part of the command
		}
		want, err := unit.DeserializeOptions(strings.NewReader(f.Text))
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		got := syntax{comments: "#;", backslash: true, separators: "="}.scan(f.Path, f.Text)
		for i, o := range want {
			if i >= len(got) || got[i].section != o.Section || got[i].key != o.Name || got[i].value != o.Value {
				t.Errorf("%s: directive %d: %+v, want %+v", f.Path, i, got, o)
				break
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d directives, want %d", f.Path, len(got), len(want))
		}
	}
}

func TestAnImportKnowsCommandsAndAddresses(t *testing.T) {
	for _, c := range []struct{ file, process, command, address string }{
		{"shop.service", "web", "gunicorn shop.wsgi", ""},
		{"bound.service", "web", "gunicorn --workers 3 bakery.wsgi:application", "unix:/run/bakery.sock"},
		{"continued.service", "web", "gunicorn --access-logfile - --workers 3 --timeout 120 site.wsgi:application", "127.0.0.1:8001"},
		{"secrets.service", "web", "gunicorn app.wsgi -w 2", ""},
		{"uvicorn.service", "web", "uvicorn api.main:app --workers 4 --proxy-headers", "0.0.0.0:8080"},
		{"uds.service", "web", "python -m uvicorn api:app", "unix:/run/api/api.sock"},
		{"shell.service", "web", "gunicorn app:app", ":8000"},
		{"worker.service", "worker", "celery -A shop worker -l info", ""},
		{"beat.service", "beat", "celery -A shop beat -s /srv/shop/schedule", ""},
		{"pre.service", "web", "daphne shop.asgi:application", "0.0.0.0:9000"},
		{"reset.service", "web", "hypercorn x:app", "127.0.0.1:7000"},
		{"template@shop.service", "web", "gunicorn shop.wsgi", ""},
		{"granian.service", "web", "granian --interface asgi --workers 2 app.main:app", "127.0.0.1:8000"},
		{"uv.service", "web", "gunicorn -c gunicorn.conf.py app:app", "0.0.0.0:5000"},
		{"variables.service", "web", "gunicorn --workers 5 --threads 2 --name '$SECRET_KEY' %h/x:app", ""},
		{"cat.service", "web", "gunicorn -w 8 shop.wsgi", ""},
		{"program.conf", "shop", "gunicorn shop.wsgi:application -w 3", "127.0.0.1:8000"},
		{"celery.conf", "worker", "celery -A shop worker -l info -n worker{instance}", ""},
		{"fcgi.conf", "api", "uvicorn api:app", "localhost:8000"},
		{"ini-with-colon.conf", "web", "waitress-serve app:app", "127.0.0.1:6543"},
		{"circus.ini", "web", "chaussette --fd {fd.web} shop.wsgi.application", "127.0.0.1:8080"},
		{"circus-many.ini", "worker", "celery -A shop worker --loglevel info", ""},
		{"Procfile", "web", "gunicorn shop.wsgi --log-file -", "0.0.0.0:8000"},
		{"Procfile.heroku", "web", "uvicorn api.main:app", "0.0.0.0:5000"},
		{"gunicorn.conf.py", "web", "", "127.0.0.1:8000"},
		{"gunicorn-small.py", "web", "gunicorn --config gunicorn-small.py shop.wsgi", "unix:/run/shop.sock"},
		{"uwsgi.ini", "web", "uwsgi --module shop.wsgi:application --processes 5 --harakiri 30 --max-requests 5000 " +
			"--buffer-size 32768 --socket fd://3", "unix:/srv/shop/shop.sock"},
		{"flask.ini", "web", "uwsgi --module wsgi:app --enable-threads --thunder-lock --threads 1", ":9090"},
		{"deploy.yml", "job", "celery -A shop worker", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			files := corpus(t)
			i := slices.IndexFunc(files, func(f File) bool { return f.Path == c.file })
			out, err := Source{}.Read(files[i])
			if err != nil {
				t.Fatal(err)
			}
			j := slices.IndexFunc(out.Processes, func(p setup.Process) bool { return p.Name == c.process })
			if j < 0 {
				t.Fatalf("no process %s: %+v", c.process, out.Processes)
			}
			if got := out.Processes[j].Command; got != c.command {
				t.Errorf("command %q\n      want %q", got, c.command)
			}
			address := ""
			for _, l := range out.Listen {
				if slices.Contains(out.Processes[j].Listen, l.Name) {
					address = l.Address
				}
			}
			if address != c.address {
				t.Errorf("address %q, want %q", address, c.address)
			}
		})
	}
}

func TestADropInOverridesItsUnit(t *testing.T) {
	out, err := Source{}.Read(
		File{"/etc/systemd/system/shop.service", "[Service]\nUser=a\nExecStart=/usr/bin/false\n"},
		File{"/etc/systemd/system/shop.service.d/x.conf", "[Service]\nUser=shop\nExecStart=\nExecStart=/srv/shop/venv/bin/gunicorn shop\n"},
	)
	if err != nil {
		t.Fatal(err)
	}
	if out.User != "shop" || out.App != "shop" || out.Processes[0].Command != "gunicorn shop" || len(out.Lines) != 5 {
		t.Errorf("%+v", out)
	}
}

func TestUnitsOfOneAppAreMerged(t *testing.T) {
	read := func(name, text string) *setup.Import {
		out, err := Source{}.Read(File{name, text})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	web := read("shop.service", "[Service]\nUser=shop\nEnvironment=A=1\nExecStart=gunicorn -b :8000 shop\n")
	web.Merge(read("celery.service", "[Service]\nEnvironment=A=1 B=2\nExecStart=celery -A shop worker\n"))
	web.Merge(read("admin.service", "[Service]\nExecStart=gunicorn -b :9000 admin\n"))
	var got []string
	for _, p := range web.Processes {
		got = append(got, fmt.Sprintf("%s %v %v", p.Name, p.Listen, p.Env))
	}
	want := []string{"web [web] []", "worker [] [{B 2}]", "web-2 [web-2] []"}
	if !slices.Equal(got, want) || web.App != "shop" || len(web.Lines) != 6 {
		t.Errorf("%q, want %q; %d lines", got, want, len(web.Lines))
	}
}

func TestVariablesOfAnEnvironmentFileAreSecrets(t *testing.T) {
	source := Source{Open: func(path string) (string, error) {
		if path != "/etc/shop.env" {
			return "", os.ErrNotExist
		}
		return "A=from the file\nKEY=a-secret-of-the-shop\n", nil
	}}
	out, err := source.Read(File{"shop.service", "[Service]\nEnvironment=A=from-the-unit\n" +
		"EnvironmentFile=/etc/shop.env\nEnvironmentFile=-/etc/missing.env\nExecStart=gunicorn shop\n"})
	if err != nil {
		t.Fatal(err)
	}
	want := []setup.Variable{{Name: "A", Value: "from the file"}, {Name: "KEY", Value: "a-secret-of-the-shop"}}
	if !slices.Equal(out.Secrets, want) || len(out.Env) != 0 || out.EnvFile != "" {
		t.Errorf("secrets %v, variables %v, file %q", out.Secrets, out.Env, out.EnvFile)
	}
}

func TestAUnitsUWSGIFileIsImportedWithIt(t *testing.T) {
	source := Source{Open: func(path string) (string, error) {
		if path != "/etc/blog.ini" {
			return "", os.ErrNotExist
		}
		return "[uwsgi]\nplugins = python3\nchdir = /srv/blog/current\nvirtualenv = /srv/blog/current/venv\n" +
			"module = blog.wsgi\nmaster = true\nsocket = 127.0.0.1:8000\n", nil
	}}
	for _, command := range []string{"/usr/bin/uwsgi --ini /etc/blog.ini", "/usr/bin/uwsgi /etc/blog.ini", "/usr/bin/uwsgi --ini=/etc/blog.ini"} {
		out, err := source.Read(File{"/etc/systemd/system/blog.service", "[Service]\nUser=blog\nExecStart=" + command + "\n"})
		if err != nil {
			t.Fatal(err)
		}
		p := out.Processes[0]
		for _, part := range []string{"--plugins python3", "--virtualenv venv", "--module blog.wsgi", "--socket fd://3"} {
			if !strings.Contains(p.Command, part) {
				t.Errorf("%s: the command has no %s: %s", command, part, p.Command)
			}
		}
		if strings.Contains(p.Command, "/srv/blog/current") || strings.Contains(p.Command, ".ini") || out.App != "blog" ||
			out.Dir != "/srv/blog/current" || len(out.Listen) != 1 || out.Listen[0].Address != "127.0.0.1:8000" {
			t.Errorf("%s: %+v", command, out)
		}
	}
}

func TestTheProcfileThatAUnitRunsIsImportedWithIt(t *testing.T) {
	source := Source{OpenProject: func(path string) (string, error) {
		switch path {
		case "/srv/notes/Procfile":
			return "web: gunicorn --bind 127.0.0.1:$PORT notes:app\nworker: python worker.py\n", nil
		case "/srv/notes/.env":
			return "PORT=8123\nKEY=a-secret-of-notes\n", nil
		}
		return "", os.ErrNotExist
	}}
	for _, command := range []string{
		"/srv/notes/venv/bin/honcho start", "/usr/bin/foreman start -f Procfile", "/usr/bin/honcho -f /srv/notes/Procfile start",
	} {
		out, err := source.Read(File{"/etc/systemd/system/notes.service", "[Service]\nUser=notes\nWorkingDirectory=/srv/notes\n" +
			"ExecStart=" + command + "\n"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range out.Processes {
			got = append(got, fmt.Sprintf("%s: %s %v", p.Name, p.Command, p.Listen))
		}
		want := []string{"web: gunicorn notes:app [web]", "worker: python worker.py []"}
		secrets := []setup.Variable{{Name: "KEY", Value: "a-secret-of-notes"}}
		if !slices.Equal(got, want) || out.App != "notes" || out.Listen[0].Address != "127.0.0.1:8123" || !slices.Equal(out.Secrets, secrets) {
			t.Errorf("%s: %q of the app %s with %v", command, got, out.App, out.Secrets)
		}
	}
}

func TestALineForAShellBecomesACommandWithoutOne(t *testing.T) {
	source := Source{OpenProject: func(path string) (string, error) {
		if path == "/srv/notes/.env" {
			return "WORKERS=3\nNOTHING=\nAPI_TOKEN=a-secret-of-notes\n", nil
		}
		return "", os.ErrNotExist
	}}
	for _, tc := range []struct {
		line, command, env, notes string
	}{
		{"web: exec gunicorn notes:app", "gunicorn notes:app", "", "on 127.0.0.1:8000"},
		{"web: gunicorn -w $WORKERS notes:app", "gunicorn -w 3 notes:app", "", ""},
		{"web: gunicorn -w ${CORES:-4} notes:app", "gunicorn -w 4 notes:app", "", "$CORES is 4"},
		{"web: gunicorn -w $WEB_CONCURRENCY --threads=\"$T\" notes:app", "gunicorn notes:app", "", "left out: -w $WEB_CONCURRENCY"},
		{"web: A=1 B='2 3' exec gunicorn notes:app", "gunicorn notes:app", "A=1 B=2 3", "B is in env"},
		{"web: cd src && gunicorn notes:app", "cd src '&&' gunicorn notes:app", "", "superctl runs no shell"},
		{"w: cd src && rq worker", "sh -c 'cd src && rq worker'", "", ""},
		{"w: rq worker --name $HOSTNAME", "sh -c 'exec rq worker --name $HOSTNAME'", "", ""},
		{"w: rq worker --token $API_TOKEN", "sh -c 'exec rq worker --token $API_TOKEN'", "", ""},
		{"w: ~/bin/worker", "sh -c 'exec ~/bin/worker'", "", ""},
		{"w: A=1 rq worker '$A'", "rq worker '$A'", "A=1", ""},
		{"w: A=$B rq worker", "sh -c 'A=$B rq worker'", "", ""},
		{"w: rq worker 2>&1 | tee log", "sh -c 'rq worker 2>&1 | tee log'", "", ""},
	} {
		out, err := source.Read(File{"/srv/notes/Procfile", tc.line + "\n"})
		if err != nil || len(out.Processes) != 1 {
			t.Fatalf("%s: %+v, %v", tc.line, out, err)
		}
		p, env := out.Processes[0], []string{}
		for _, v := range p.Env {
			env = append(env, v.Name+"="+v.Value)
		}
		why := out.Lines[len(out.Lines)-1].Why
		if p.Command != tc.command || strings.Join(env, " ") != tc.env || !strings.Contains(why, tc.notes) {
			t.Errorf("%s:\ncommand %q, env %q, notes %q", tc.line, p.Command, env, why)
		}
	}
	if out, err := source.Read(File{"/srv/notes/Procfile", "w: $NOTHING\n"}); err != nil || len(out.Processes) > 0 ||
		out.Lines[len(out.Lines)-1].Why != "the command is empty" {
		t.Errorf("an empty command: %+v, %v", out, err)
	}
	out, err := source.Read(File{"Procfile", "release: A=1 python manage.py migrate\n"})
	if err != nil || !slices.Equal(out.Before, []string{"sh -c 'A=1 python manage.py migrate'"}) {
		t.Errorf("%q, %v", out.Before, err)
	}
}

func TestAnUnknownFileIsRefused(t *testing.T) {
	for _, f := range []File{{"a.txt", "hello"}, {"x.yml", "a: 1"}, {"deploy.yml", "\nservice: [\n"}} {
		if _, err := (Source{}).Read(f); err == nil {
			t.Errorf("%s: no error", f.Path)
		}
	}
}

// fuzz imports any text as a kind of file: it never crashes, and accounts for each line.
func fuzz(f *testing.F, path, prefix string, kinds ...Kind) {
	f.Helper()
	for _, file := range corpus(f) {
		if slices.Contains(kinds, KindOf(file)) {
			f.Add(file.Text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := File{path, prefix + text}
		if !slices.Contains(kinds, KindOf(file)) || strings.ContainsAny(text, "\r\v\f\u0085\u00a0\x00") {
			return
		}
		out, err := Source{}.Read(file)
		if err != nil {
			return
		}
		times := map[int]int{}
		for _, l := range out.Lines {
			for n := l.From; n <= l.To; n++ {
				if times[n]++; times[n] > 1 {
					t.Fatalf("line %d is reported twice: %+v", n, out.Lines)
				}
			}
		}
		if kind := KindOf(file); kind == Gunicorn || kind == Kamal {
			return // which of their lines count depends on Python and YAML
		}
		for _, n := range mustCount(file) {
			if times[n] == 0 {
				t.Fatalf("line %d is not reported: %+v", n, out.Lines)
			}
		}
	})
}

func FuzzUnit(f *testing.F)       { fuzz(f, "x.service", "", Unit) }
func FuzzSupervisor(f *testing.F) { fuzz(f, "x.conf", "[supervisord]\n", Supervisor) }
func FuzzCircus(f *testing.F)     { fuzz(f, "x.ini", "[circus]\n", Circus) }
func FuzzProcfile(f *testing.F)   { fuzz(f, "Procfile", "", Procfile) }
func FuzzGunicorn(f *testing.F)   { fuzz(f, "x.py", "", Gunicorn) }
func FuzzUWSGI(f *testing.F)      { fuzz(f, "x.ini", "[uwsgi]\n", UWSGI) }
func FuzzKamal(f *testing.F)      { fuzz(f, "deploy.yml", "service: x\n", Kamal) }
