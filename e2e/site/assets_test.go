package site

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// staticSettings is a Django project with static files in each release, and a page that names them.
const (
	staticSettings = `
from pathlib import Path
BASE_DIR = Path(__file__).parent.parent
INSTALLED_APPS.append("django.contrib.staticfiles")
STATICFILES_DIRS = [BASE_DIR / "shop" / "files"]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
`
	staticPage = `
from django.http import HttpResponse
from django.templatetags.static import static


def page(request):
    names = [static(name) for name in ("site.css", "js/app.js", "same.js")]
    return HttpResponse("\n".join(f'<a href="{name}">' for name in [*names, "/static/logo.svg"]))


urlpatterns.append(path("page", page))
`
)

// staticRelease makes a release whose static files are in it.
func staticRelease(t *testing.T, a *harness.App, name string) {
	t.Helper()
	a.Release(name, apps.Behaviour{})
	dir := a.Path("releases", name)
	for path, content := range map[string]string{
		"site.css": "/* " + name + " */", "js/app.js": "// " + name, "same.js": "// of all",
		"logo.svg": "<svg>" + name + strings.Repeat(" ", 64<<10) + "</svg>",
	} {
		write(t, filepath.Join(dir, "shop", "files", path), content)
	}
	for path, more := range map[string]string{"shop/settings.py": staticSettings, "shop/urls.py": staticPage} {
		f, err := os.OpenFile(filepath.Join(dir, path), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(more)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "venv/bin/python"), "manage.py", "collectstatic", "--noinput", "--verbosity=0")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("collectstatic: %v\n%s", err, out)
	}
}

// crawler fetches pages, keeps each, and fetches again and again what all of them name.
type crawler struct {
	t      *testing.T
	base   string
	client http.Client
	files  map[string][]string // the contents that a name may have

	mu    sync.Mutex
	pages map[string][]string // by text: what it names
	n     int                 // files fetched
}

var named = regexp.MustCompile(`href="([^"]+)"`)

// crawl runs until stop is closed.
func (c *crawler) crawl(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			c.page()
			c.mu.Lock()
			hand := make([][]string, 0, len(c.pages))
			for _, names := range c.pages {
				hand = append(hand, names)
			}
			c.mu.Unlock()
			for _, names := range hand {
				for _, name := range names {
					c.asset(name)
				}
			}
		}
	}
}

func (c *crawler) get(path string) (body string, status int) {
	resp, err := c.client.Get(c.base + path)
	if err != nil {
		c.t.Errorf("%s: %v", path, err)
		return "", 0
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s: %v", path, err)
	}
	return string(data), resp.StatusCode
}

// page fetches a page, and then at once what it names.
func (c *crawler) page() {
	body, status := c.get("/page")
	if status != http.StatusOK {
		c.t.Errorf("/page: %d", status)
		return
	}
	var names []string
	for _, m := range named.FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	if len(names) != 4 {
		c.t.Errorf("the page names %q", names)
	}
	c.mu.Lock()
	c.pages[body] = names
	c.mu.Unlock()
	for _, name := range names {
		c.asset(name)
	}
}

func (c *crawler) asset(name string) {
	body, status := c.get(name)
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	if status != http.StatusOK {
		c.t.Errorf("%s: %d", name, status)
		return
	}
	for _, want := range c.files[strings.TrimPrefix(name, "/static/")] {
		if body == want {
			return
		}
	}
	c.t.Errorf("%s has %.40q (%d bytes)", name, body, len(body))
}

// know reads what a release has under each name.
func (c *crawler) know(dir string) {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		c.files[name] = append(c.files[name], string(data))
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// assetRounds returns how often the releases change in turn, SUPERCTL_ASSETS.
func assetRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SUPERCTL_ASSETS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Pages of the old release, the new one and a canary are in hand while releases change. Every file
// that they name is there, whole.
func TestEveryPageFindsItsStaticFiles(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "static")
	a := harness.New(t, run, harness.Options{
		Server: harness.GunicornThreads(), Front: harness.NginxTCP, Static: to,
		More: fmt.Sprintf("[assets]\nstatic = { from = \"static\", to = %q }\n", to),
	})
	network, address := a.Target()
	if network != "tcp" {
		t.Fatal(network)
	}
	c := &crawler{t: t, base: "http://" + address, files: make(map[string][]string), pages: make(map[string][]string)}
	c.client.Transport = &http.Transport{MaxIdleConnsPerHost: 8}
	for _, name := range []string{"r1", "r2", "r3"} {
		staticRelease(t, a, name)
		c.know(a.Path("releases", name, "static"))
	}
	probation := func(lasts string) {
		a.Options.Top = "probation = " + strconv.Quote(lasts)
		a.WriteConfig()
	}
	live := func(release string) {
		t.Helper()
		if body, _ := c.get("/static/logo.svg"); !strings.HasPrefix(body, "<svg>"+release+" ") {
			t.Errorf("%s is live, and logo.svg has %.20q", release, body)
		}
	}
	a.Command("check", "r1").Want(0).Says("publish", "files for "+to)
	a.Start("r1")
	live("r1")
	stop := make(chan struct{})
	var crawlers sync.WaitGroup
	for range 2 {
		crawlers.Go(func() { c.crawl(stop) })
	}
	for range assetRounds(t) {
		a.Command("switch", "r2").Want(0).Says("publish", "files in "+to)
		live("r2")
		a.Command("rollback").Want(0)
		live("r1")
		a.Command("switch", "r2", "--canary", "50%", "--for", "300ms").Want(0)
		live("r2")
		probation("10m")
		change := a.Begin("switch", "r3")
		harness.Eventually(t, "the probation has begun", func() bool {
			st := a.Status()
			return st.Changing != nil && st.Changing.Step == "probation"
		})
		live("r3")
		a.Command("rollback").Want(0)
		change.Wait()
		live("r2")
		probation("0s")
		a.Command("switch", "r1").Want(0)
		live("r1")
	}
	close(stop)
	crawlers.Wait()
	if len(c.pages) != 3 {
		t.Errorf("%d different pages were seen, want those of 3 releases", len(c.pages))
	}
	t.Logf("%d files fetched for pages of %d releases", c.n, len(c.pages))
	if _, err := os.Stat(filepath.Join(to, "staticfiles.json")); err == nil {
		t.Error("the manifest is published")
	}
}

// The directory belongs to the daemon's user. When it cannot be written to, a release is refused
// before it starts; what cannot follow after the cutover is a trouble, and is tried again.
func TestAStaticDirectoryThatCannotBeWrittenTo(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	mount(t, to, 0, "size=256k,mode=755")
	t.Cleanup(func() { unmount(t, to) })
	a := harness.New(t, run, harness.Options{
		More: fmt.Sprintf("[assets]\nstatic = { from = \"static\", to = %q }\n", to),
	})
	a.Releases("r1", "r2", "r3", "r4")
	for name, content := range map[string]string{"r1": "1", "r2": "2", "r3": "3"} {
		write(t, a.Path("releases", name, "static", "logo.svg"), content)
	}
	write(t, a.Path("releases", "r2", "static", "big"), strings.Repeat("x", 512<<10))
	write(t, a.Path("releases", "r3", "static", "logo.svg"), strings.Repeat("3", 16<<10))
	a.Start("r1")
	logo := func() string {
		data, err := os.ReadFile(filepath.Join(to, "logo.svg"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for release, why := range map[string]string{
		"r2": "no space left on device: free space", "r4": "publish: assets.static: release r4 has no directory static",
	} {
		a.Command("switch", release).Want(1).Says(why, "r1 is still live")
		if logo() != "1" {
			t.Errorf("logo.svg is %.20q", logo())
		}
	}
	ballast := filepath.Join(to, "ballast")
	fill(t, ballast)
	a.Command("switch", "r3").Want(0).Says("no space left on device", "it is tried again")
	if st := a.Status(); st.Release != "r3" || logo() != "1" {
		t.Errorf("%s is live, logo.svg is %.20q", st.Release, logo())
	}
	a.Command("status").Says("static files", "no space left on device")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the static files follow", func() bool { return strings.HasPrefix(logo(), "333") })
	harness.Eventually(t, "status is silent", func() bool {
		return !strings.Contains(a.Command("status").Want(0).Text(), "static files")
	})
	write(t, filepath.Join(to, "staticfiles.json"), "{}")
	a.Command("check").Want(1).Says("FAIL", filepath.Join(to, "staticfiles.json")+" is the manifest of all releases")
}
