package setup

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"superctl/config"
)

var update = flag.Bool("update", false, "write the golden files")

// fixture is a project and a machine of testdata.
type fixture struct {
	project  *Project
	settings *Settings
	machine  *Machine
	answers  Answers
	files    map[string]string // of the machine; Apply of a test adds to it
	archive  *txtar.Archive
}

// openFixture reads an archive: what the project and the machine are like.
func openFixture(t *testing.T, path string) *fixture {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{archive: archive, files: map[string]string{}}
	dir := ""
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "dir":
			dir = value
		case "domain":
			f.answers.Domains = []string{value}
		}
	}
	fsys := fstest.MapFS{}
	parts := map[string]string{}
	for _, file := range archive.Files {
		if name, ok := strings.CutPrefix(file.Name, "project/"); ok {
			fsys[name] = &fstest.MapFile{Data: file.Data, Mode: 0o644}
		} else if name, ok := strings.CutPrefix(file.Name, "link/"); ok {
			fsys[name] = &fstest.MapFile{Data: []byte(strings.TrimSpace(string(file.Data))), Mode: fs.ModeSymlink}
		} else {
			parts[file.Name] = string(file.Data)
		}
	}
	if f.project, err = Inspect(fsys, dir); err != nil {
		t.Fatal(err)
	}
	if text := parts["settings.json"]; text != "" {
		if err := json.Unmarshal([]byte(text), &f.settings); err != nil {
			t.Fatal(err)
		}
	}
	f.machine = f.fake(parts)
	return f
}

func (f *fixture) fake(parts map[string]string) *Machine {
	owners, targets := pairs(parts["paths"]), pairs(parts["real"])
	users := strings.Fields(parts["users"])
	return &Machine{
		CPUs:    4,
		HasUser: func(name string) bool { return slices.Contains(users, name) },
		InGroup: func(string, string) bool { return false },
		Owner:   func(path string) string { return owners[path] },
		Real: func(path string) string {
			if to := targets[path]; to != "" {
				return to
			}
			return path
		},
		Read: func(path string) (string, bool, error) {
			text, found := f.files[path]
			return text, found, nil
		},
		Program:   func(name string) bool { return !strings.Contains(parts["machine"], "no "+name) },
		PortTaken: func(port int) bool { return slices.Contains(strings.Fields(parts["taken"]), strconv.Itoa(port)) },
		Configs:   func() []string { return []string{parts["configs"]} },
	}
}

func pairs(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[key] = value
	}
	return m
}

func (f *fixture) plan(t *testing.T) (*Decision, *Plan) {
	t.Helper()
	d, err := Decide(f.project, f.settings, f.machine, f.answers)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(d.Site, f.machine, func() string { return "RANDOM" })
	if err != nil {
		t.Fatal(err)
	}
	return d, p
}

// report is everything that a user sees of a plan, but for the content of secrets.
func report(d *Decision, p *Plan) string {
	var b strings.Builder
	for _, f := range d.Facts {
		fmt.Fprintf(&b, "fact: %s: %s (%s) %v\n", f.Name, f.Value, f.Source, f.Guess)
	}
	for _, w := range d.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, c := range p.Before {
		fmt.Fprintf(&b, "before: %s\n", c)
	}
	for _, f := range p.Files {
		fmt.Fprintf(&b, "file: %s %o %s\n%s", f.Path, f.Mode, f.Reader, f.Content)
	}
	for _, c := range p.After {
		fmt.Fprintf(&b, "after: %s\n", c)
	}
	for _, c := range p.Next {
		fmt.Fprintf(&b, "next: %s # %s\n", c, c.Why)
	}
	return b.String()
}

func fixtures(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/projects/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return paths
}

func TestAProjectGivesItsPlan(t *testing.T) {
	for _, path := range fixtures(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := openFixture(t, path)
			got := report(f.plan(t))
			golden := strings.TrimSuffix(path, ".txtar") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("want -, got + (go test ./setup -update writes the golden files):\n%s", diff)
			}
		})
	}
}

func TestEveryPlannedConfigIsValid(t *testing.T) {
	for _, path := range fixtures(t) {
		f := openFixture(t, path)
		_, p := f.plan(t)
		env := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(env, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range p.Files {
			text := strings.ReplaceAll(file.Content, EnvPath(p.App), env)
			if file.Path != ConfigPath(p.App) {
				continue
			}
			if _, err := config.Parse(file.Path, []byte(text)); err != nil {
				t.Errorf("%s: %v\n%s", path, err, text)
			}
		}
	}
}

// applied makes the machine what the plan makes it.
func (f *fixture) applied(s *Site, p *Plan) {
	for _, file := range p.Files {
		f.files[file.Path] = file.Content
	}
	made := []string{s.Base, s.Releases}
	for _, sh := range s.Shared {
		made = append(made, sh.Target, filepath.Dir(sh.Target), filepath.Join(s.Release, sh.Path))
	}
	made = append(made, filepath.Join(s.Base, "data"))
	owner := f.machine.Owner
	f.machine.Owner = func(path string) string {
		if slices.Contains(made, path) {
			return s.User
		}
		return owner(path)
	}
	f.machine.HasUser = func(name string) bool { return name == s.User }
	f.machine.InGroup = func(user, _ string) bool { return user == s.User }
	f.machine.PortTaken = func(int) bool { return true } // it runs
}

func TestAnAppliedPlanIsEmpty(t *testing.T) {
	for _, path := range fixtures(t) {
		f := openFixture(t, path)
		d, p := f.plan(t)
		if p.Empty() {
			t.Errorf("%s: the first plan is empty", path)
		}
		f.applied(d.Site, p)
		if _, again := f.plan(t); !again.Empty() {
			t.Errorf("%s: the second plan is not empty:\n%s", path, report(d, again))
		}
	}
}

func TestASecretIsInNoDiff(t *testing.T) {
	f := openFixture(t, "testdata/projects/django.txtar")
	_, p := f.plan(t)
	for _, file := range p.Files {
		if strings.Contains(file.Diff(), "RANDOM") {
			t.Errorf("%s:\n%s", file.Path, file.Diff())
		}
		if file.Secret && !strings.Contains(file.Content, "SECRET_KEY=RANDOM") {
			t.Errorf("%s has no secret", file.Path)
		}
	}
}

func TestAFileOfSecretsIsNeverReplaced(t *testing.T) {
	f := openFixture(t, "testdata/projects/django.txtar")
	f.files[EnvPath("shop")] = "SECRET_KEY=mine\n"
	_, p := f.plan(t)
	for _, file := range p.Files {
		if file.Secret && file.Changed() {
			t.Errorf("%s would be written", file.Path)
		}
	}
}

func TestAnEditedFileIsReplacedOnDemandOnly(t *testing.T) {
	f := openFixture(t, "testdata/projects/flask.txtar")
	f.files[ConfigPath("orders")] = "app = \"orders\"\n"
	_, p := f.plan(t)
	ran := 0
	err := p.Apply(t.Context(), false, nil, func(string) { ran++ })
	var replaces *ReplacesError
	if !errors.As(err, &replaces) || !slices.Equal(replaces.Paths, []string{ConfigPath("orders")}) || ran > 0 {
		t.Errorf("%v, after %d steps", err, ran)
	}
}

func TestAnUnknownDomainIsAQuestion(t *testing.T) {
	f := openFixture(t, "testdata/projects/flask.txtar")
	f.answers.Domains = nil
	_, err := Decide(f.project, f.settings, f.machine, f.answers)
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !strings.Contains(unknown.Flag, "--domain") {
		t.Errorf("%v", err)
	}
	f.answers.NoNginx = true
	if _, err := Decide(f.project, f.settings, f.machine, f.answers); err != nil {
		t.Errorf("without nginx: %v", err)
	}
}

func TestSettingsThatCannotServeAreSaid(t *testing.T) {
	f := openFixture(t, "testdata/projects/django.txtar")
	f.answers.Domains = []string{"shop.example.com"}
	for says, change := range map[string]func(*Settings){
		"SECRET_KEY is not set":              func(s *Settings) { s.SecretKey = false },
		"DEBUG is on":                        func(s *Settings) { s.Debug = true },
		"ALLOWED_HOSTS is empty":             func(s *Settings) { s.AllowedHosts = nil },
		"SECURE_PROXY_SSL_HEADER is not set": func(s *Settings) { s.ProxyHeader = nil },
		"Django serves no static files":      func(s *Settings) { s.StaticRoot = "" },
		"fill in the variables in":           func(*Settings) {},
	} {
		set := *f.settings
		change(&set)
		d, err := Decide(f.project, &set, f.machine, f.answers)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(d.Warnings, "\n"), says) {
			t.Errorf("no warning %q: %q", says, d.Warnings)
		}
	}
}

func TestAnImportWithoutAProjectGivesAPlan(t *testing.T) {
	f := openFixture(t, "testdata/projects/flask.txtar")
	im := &Import{
		App: "gunicorn", User: "deploy", Dir: "/srv/bakery/current", Listen: []Listener{{Name: "web", Address: "unix:/run/b.sock"}},
		Processes: []Process{{Name: "web", Command: "gunicorn bakery.wsgi", Listen: []string{"web"}}},
		Secrets:   []Variable{{"API_KEY", "of the bakery"}}, DropIn: []string{"MemoryMax=1G"},
	}
	d, err := DecideImport(im, nil, nil, f.machine, Answers{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(d.Site, f.machine, func() string { return "RANDOM" })
	if err != nil {
		t.Fatal(err)
	}
	text := report(d, p)
	for _, says := range []string{
		"/etc/superctl/bakery.toml", `address = "unix:/run/superctl/bakery-web.sock"`, "MemoryMax=1G", "User=deploy",
		`API_KEY="of the bakery"`, `env_file = "/etc/superctl/bakery.env"`,
	} {
		if !strings.Contains(text, says) {
			t.Errorf("the plan does not say %s:\n%s", says, text)
		}
	}
	if d.Site.Nginx != nil {
		t.Error("nginx is set up anew")
	}
}

func TestAProjectCannotWriteIntoFilesOfRoot(t *testing.T) {
	f := openFixture(t, "testdata/projects/django.txtar")
	evil := "x;\n}\nevil \"$(id)\" {"
	f.settings = &Settings{
		AllowedHosts: []string{"shop.example.com;" + evil, "shop.example.com"}, SSLRedirect: true,
		ProxyHeader: []string{"HTTP_X " + evil, evil}, StaticURL: "/" + evil, StaticRoot: "/srv/" + evil,
		MediaURL: "/media/", MediaRoot: "/var/" + evil, Databases: []string{"/var/lib/" + evil + "/db"},
	}
	_, p := f.plan(t)
	for _, file := range p.Files {
		if strings.Contains(file.Content, "evil") {
			t.Errorf("%s:\n%s", file.Path, file.Content)
		}
	}
}
