// Package web tests the page of superctl web in a real Chromium, with a real daemon and gunicorn.
package web

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

//go:embed pricing.py
var pricingApp string

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}

// serve starts superctl web, which finds the app by its socket, until the test ends. It returns the
// address.
func serve(t *testing.T, a watched, listen string) string {
	t.Helper()
	cmd := exec.Command(a.Binary, "web", "--listen", listen)
	cmd.Env = []string{"RUNTIME_DIRECTORY=" + a.Path("run"), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(said)
	first, err := lines.ReadString('\n')
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		rest, _ := lines.ReadString(0)
		if err := cmd.Wait(); err != nil || rest != "" {
			t.Errorf("superctl web: %v\n%s", err, rest)
		}
	})
	at, found := strings.CutPrefix(strings.TrimSpace(first), "superctl: web on ")
	if err != nil || !found {
		t.Fatalf("superctl web says %q, %v", first, err)
	}
	return at
}

// site returns a site whose release r41 is live; r43 answers 500 to half of its users.
func site(t *testing.T, top string) watched {
	t.Helper()
	a := harness.New(t, run, harness.Options{
		Server: harness.Server{
			Name: "gunicorn", Command: "gunicorn --worker-class gthread --workers 2 --threads 4 pricing:wsgi",
		},
		Top: top,
	})
	a.Name = "shop"
	a.WriteConfig()
	a.Releases("r41", "r42", "r43")
	for _, release := range []string{"r41", "r42", "r43"} {
		a.WriteFile("releases/"+release+"/pricing.py", pricingApp)
	}
	a.WriteFile("releases/r43/bad", "")
	a.Start("r41")
	return watched{a}
}

func visit(a watched) *load.Run {
	return a.Load(load.Config{Clients: 8, Rate: 40, KeepAlive: true, FreshClients: 4, Shapes: []load.Shape{load.Get("/")}})
}

// pictures is the directory for the pictures of docs; "" = none are made. For them the site is watched
// for longer, so that the charts show something.
var pictures = os.Getenv("SUPERCTL_WEB_PICTURES")

func TestThePageShowsASwitchAndARevert(t *testing.T) {
	t.Parallel()
	a := site(t, `probation = "0s"`)
	b := startBrowser(t)
	if pictures != "" {
		b.before(`globalThis.EventSource = class extends EventSource {
			set onmessage(f) { this.addEventListener('message', (e) => f({ data: e.data
				.replace(/"host":"[^"]*"/, '"host":"web1"').replaceAll('"root"', '"ann"').replace(/\/tmp\/sctl-\d+\/a\d+/g, '/srv/shop') })); } };`)
	}
	address := serve(t, a, "127.0.0.1:0")
	b.look(1280, "light")
	b.open(address)
	r := visit(a)
	b.becomes(`document.querySelector('.health').textContent === '✓ ok' && document.title.startsWith('all ok')`)
	b.becomes(`document.querySelector('tbody tr td').textContent > '10'`)
	b.becomes(`document.querySelectorAll('path.line').length >= 4`)
	a.longer(b)

	a.Change(0, "switch", "r42")
	b.becomes(`document.querySelector('.title').innerText.includes('r42 is live')`)
	b.becomes(`document.querySelector('.chart .mark-text').textContent === 'cutover to r42'`)
	b.becomes(column(2, "small") + ` === 'live' && ` + column(1, "small") + `.includes('until')`)
	a.longer(b)
	a.Options.Top = `probation = "10s"`
	a.WriteConfig()
	o := a.Change(5, "switch", "r43")
	a.Options.Top = `probation = "0s"`
	a.WriteConfig() // as the live release was started
	b.becomes(`document.querySelector('.verdict').textContent.startsWith('switch to r43: reverted. probation: web: 5xx')`)
	b.becomes(`document.querySelector('.history li').innerText.includes(` + strconv.Quote(o.Error) + `)`)
	b.becomes(`document.querySelector('.chart').getAttribute('aria-label').includes('back to r42')`)
	b.becomes(column(3, "small") + `.startsWith('ended, until')`)
	a.longer(b)
	byKeyboard(t, b)
	b.becomes(`document.activeElement.blur() || true`)
	for _, width := range []int{1280, 360} {
		for _, colours := range []string{"light", "dark"} {
			b.look(width, colours)
			legible(t, b)
			if pictures != "" && (width == 1280) == (colours == "light") {
				name := map[int]string{1280: "web.png", 360: "web-phone.png"}[width]
				must(t, os.WriteFile(filepath.Join(pictures, name), b.picture(), 0o644))
			}
		}
	}
	r.Stop()
	if pictures != "" {
		must(t, os.WriteFile(pictured, []byte(assets(t)), 0o644))
	}
	accessible(t, b)
	b.clean(address)
}

// pictured has what the files of the page were when the pictures of docs were made.
var pictured = filepath.Join("testdata", "pictured.sha256")

func assets(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "web", "assets", "*"))
	must(t, err)
	var list strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(data), filepath.Base(file))
	}
	return list.String()
}

func TestThePicturesOfTheDocumentsAreOfThisPage(t *testing.T) {
	want, err := os.ReadFile(pictured)
	must(t, err)
	if assets(t) != string(want) {
		t.Error("the pictures of superctl web in docs/images are out of date: run make screens")
	}
}

// column returns an expression for what a column of the table of releases has at its head.
func column(n int, part string) string {
	return fmt.Sprintf(`(document.querySelector('thead th:nth-child(%d) %s')?.textContent || '')`, n+1, part)
}

// watched is an app of which pictures may be made.
type watched struct{ *harness.App }

// longer waits until the charts have more points, if pictures are made.
func (watched) longer(b *browser) {
	if pictures == "" {
		return
	}
	newest := `Number(document.documentElement.dataset.at)`
	from := get[float64](b, newest)
	for i := range 2 {
		b.becomes(fmt.Sprintf(`%s > %f`, newest, from+float64(i+1)*25e3))
	}
}

// byKeyboard checks that the log of the failed release can be opened and read without a mouse.
func byKeyboard(t *testing.T, b *browser) {
	t.Helper()
	for range 20 {
		b.press("Tab")
		if get[string](b, `document.activeElement.tagName`) == "SUMMARY" {
			break
		}
	}
	b.press("Enter")
	b.becomes(`document.querySelector('.history details').open`)
	b.press("Tab")
	log := get[string](b, `document.activeElement.tagName === 'PRE' ? document.activeElement.textContent : ''`)
	if !strings.Contains(log, "ValueError: no price for <b>a teapot</b>") || get[bool](b, `Boolean(document.querySelector('pre *'))`) {
		t.Errorf("the log of the failed release is %q", log)
	}
}

// legible checks that the page fits into its width, and the contrast of its texts and lines (WCAG 2.2,
// level AA).
func legible(t *testing.T, b *browser) {
	t.Helper()
	b.becomes(`[...document.querySelectorAll('.chart')].every((c) => c.viewBox.baseVal.width <= c.clientWidth + 1)`)
	if wide := get[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		t.Errorf("the page is %d pixels too wide", wide)
	}
	for _, problem := range get[[]string](b, contrast) {
		t.Errorf("hard to read: %s", problem)
	}
}

//go:embed contrast.js
var contrast string

// accessible checks what a screen reader finds. On a busy machine a daemon that has not answered in time is shown
// under another name until its next answer.
func accessible(t *testing.T, b *browser) {
	t.Helper()
	var missing string
	harness.Eventually(t, "a screen reader finds the parts of the page", func() bool {
		missing = unread(b)
		return missing == ""
	}, func() string { return missing })
	// Numbers that change every second are not announced.
	if live := get[int](b, `document.querySelectorAll('[aria-live], table [role=status]').length`); live > 0 {
		t.Errorf("%d elements are announced", live)
	}
}

// unread returns the parts of the page that a screen reader does not find.
func unread(b *browser) string {
	type value struct{ Value any }
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name value
		}
	}
	b.call("Accessibility.getFullAXTree", map[string]any{}, &tree)
	found := make(map[string]string)
	for _, n := range tree.Nodes {
		if !n.Ignored {
			found[fmt.Sprint(n.Role.Value)] += fmt.Sprintln(n.Name.Value)
		}
	}
	var missing strings.Builder
	for role, want := range map[string]string{
		"banner": "", "main": "", "contentinfo": "", "status": "", "heading": "shop\n", "columnheader": "r42", "rowheader": "p99",
		"image": "Requests per second in the last 10 minutes: r41 from ", "region": "shop\n", "list": "",
	} {
		if names, there := found[role]; !there || !strings.Contains(names, want) {
			fmt.Fprintf(&missing, "no %s %q: %q\n", role, want, names)
		}
	}
	return missing.String()
}
