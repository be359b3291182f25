package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// output runs a command in a directory and returns what it writes.
func output(t *testing.T, dir, command string, args ...string) string {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// only returns the one file in a directory that matches a pattern.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("%s: %v", pattern, list)
	}
	return list[0]
}

// One release is made for all of these: that takes minutes.
func TestTheFilesOfARelease(t *testing.T) {
	t.Parallel()
	keys, dist := t.TempDir(), filepath.Join(t.TempDir(), "dist")
	secret, public := filepath.Join(keys, "secret"), filepath.Join(keys, "public")
	output(t, keys, "minisign", "-G", "-W", "-s", secret, "-p", public)
	output(t, top(t), "env", "MINISIGN_KEY="+secret, "tools/dist", dist)
	number, err := os.ReadFile(filepath.Join(top(t), "version", "VERSION"))
	must(t, err)
	version := strings.TrimSpace(string(number))

	t.Run("are signed as a whole", func(t *testing.T) {
		output(t, dist, "sha256sum", "--check", "--strict", "SHA256SUMS")
		output(t, dist, "minisign", "-V", "-p", public, "-m", "SHA256SUMS")
		sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
		must(t, err)
		files, err := os.ReadDir(dist)
		must(t, err)
		if listed := strings.Count(string(sums), "\n"); listed != len(files)-2 {
			t.Errorf("SHA256SUMS lists %d of %d files", listed, len(files)-2)
		}
	})
	t.Run("say their version", func(t *testing.T) {
		for pattern, command := range map[string]string{
			"superctl_*_arm64.deb":     "dpkg-deb --field",
			"superctl-*.aarch64.rpm":   "rpm --query --package",
			"superctl_*_aarch64.apk":   "tar -xzO .PKGINFO -f",
			"superctl-*_aarch64.whl":   "python3 -m zipfile --list",
			"superctl-superctl-*.gz":   "tar -xzO MANIFEST.json -f",
			"superctl-*-darwin-arm64*": "tar -tzf",
		} {
			words := append(strings.Fields(command), only(t, dist, pattern))
			if text := output(t, dist, words[0], words[1:]...); !strings.Contains(text, version) {
				t.Errorf("%s does not say %s: %.2000s", pattern, version, text)
			}
		}
	})
	t.Run("bring the program by pip", func(t *testing.T) {
		venv := filepath.Join(t.TempDir(), "venv")
		output(t, keys, filepath.Join(run.Apps.Cache, "bin", "python"), "-m", "venv", venv)
		pip := filepath.Join(venv, "bin", "pip")
		output(t, keys, pip, "install", "--no-index", "--disable-pip-version-check", only(t, dist, "superctl-*x86_64.whl"))
		superctl := filepath.Join(venv, "bin", "superctl")
		if text := output(t, keys, superctl, "version"); !strings.Contains(text, "superctl version "+version) {
			t.Errorf("%s", text)
		}
		output(t, keys, pip, "check")
		output(t, keys, pip, "uninstall", "--yes", "superctl")
		if _, err := os.Lstat(superctl); !os.IsNotExist(err) {
			t.Errorf("pip has left %s: %v", superctl, err)
		}
	})
	t.Run("run on arm64", func(t *testing.T) {
		dir := t.TempDir()
		output(t, dir, "tar", "-xzf", only(t, dist, "superctl-*-linux-arm64.tar.gz"))
		program := only(t, dir, "superctl-*/superctl")
		if text := output(t, dir, "qemu-aarch64-static", program, "version"); !strings.Contains(text, version) {
			t.Errorf("%s", text)
		}
	})
	t.Run("say what they consist of", func(t *testing.T) {
		var bom struct {
			Format     string `json:"bomFormat"`
			Components []struct{ Name, Version string }
		}
		data, err := os.ReadFile(only(t, dist, "superctl-*.cdx.json"))
		must(t, err)
		must(t, json.Unmarshal(data, &bom))
		for _, c := range bom.Components {
			if c.Name == "go.uber.org/zap" && c.Version != "" && bom.Format == "CycloneDX" {
				return
			}
		}
		t.Errorf("zap is not among %d components", len(bom.Components))
	})
}
