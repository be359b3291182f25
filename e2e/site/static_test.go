package site

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"superctl/e2e/apps"
)

// pythonOf returns the Python blocks of a document by the file name in their first line.
func pythonOf(t *testing.T, document string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, m := range regexp.MustCompile("(?ms)^```python\n# (\\S+)\n(.*?)^```$").FindAllStringSubmatch(string(data), -1) {
		blocks[m[1]] = m[2]
	}
	return blocks
}

// docs/static-files.md describes static files of all releases in one directory, with a manifest for each
// release.
func TestARefusedReleaseLeavesTheStaticFilesOfTheLiveOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code := pythonOf(t, "static-files.md")
	settings := strings.Replace(code["shop/settings.py"], "/srv/shop/static", filepath.Join(dir, "static"), 1)
	manage := func(release string, args ...string) string {
		t.Helper()
		cmd := exec.Command(
			filepath.Join(dir, release, "venv", "bin", "python"), append([]string{"manage.py"}, args...)...,
		)
		cmd.Dir = filepath.Join(dir, release)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("manage.py %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, release := range []string{"live", "refused"} {
		if err := run.Apps.Release(filepath.Join(dir, release), apps.Behaviour{}); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, release, "shop", "storage.py"), code["shop/storage.py"])
		write(t, filepath.Join(dir, release, "shop", "shopfiles", "site.css"), "/* "+release+" */")
		own := "\nfrom pathlib import Path\nBASE_DIR = Path(__file__).parent.parent\nINSTALLED_APPS.append(\"django.contrib.staticfiles\")\n" +
			"STATICFILES_DIRS = [BASE_DIR / \"shop\" / \"shopfiles\"]\n"
		f, err := os.OpenFile(filepath.Join(dir, release, "shop", "settings.py"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(own + settings); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		manage(release, "collectstatic", "--noinput", "--verbosity", "0")
	}
	for _, release := range []string{"live", "refused"} {
		url := manage(
			release, "shell", "-c", "from django.templatetags.static import static; print(static('site.css'))",
		)
		_, name, _ := strings.Cut(url[strings.LastIndex(url, "\n")+1:], "/static/")
		content, err := os.ReadFile(filepath.Join(dir, "static", name))
		if err != nil || string(content) != "/* "+release+" */" {
			t.Errorf("a page of release %s names %s, which has %q, %v", release, url, content, err)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
