package site

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"superctl/e2e/harness"
)

func TestAnSSHKeyWithTheCommandOfACIGetsNoShell(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	ssh := a.StartSSH()
	key, err := os.ReadFile(a.Path("ssh", "user.pub"))
	if err != nil {
		t.Fatal(err)
	}
	a.WriteFile("ssh/user.pub", fmt.Sprintf("command=\"%s --config %s ci-shell; echo exit $?\",restrict %s",
		a.Binary, a.Config, key))
	marker := a.Path("marker")
	for command, says := range map[string]string{
		"status":                  "r1",
		"status --json":           `"release":`,
		"touch " + marker:         `"touch" is not allowed with this key`,
		"status; touch " + marker: `"status;" is not allowed with this key`,
		"switch r1":               `"switch" is not allowed with this key`,
		"deploy " + filepath.Join(a.Dir, "a.zst"):   "only from https:// and s3://",
		"deploy https://127.0.0.1:1/shop-1.tar.zst": "exit",
	} {
		if out := ssh.Forced("127.0.0.1", command); !strings.Contains(out, says) {
			t.Errorf("%s: %s", command, out)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command was run")
	}
	if st := a.Status(); st.Release != "r1" {
		t.Errorf("%s is live", st.Release)
	}
}

// deploySteps returns the commands by which the templates for CI systems deploy: the last step of each.
func deploySteps(t *testing.T) map[string]string {
	t.Helper()
	parse := func(name string, into any) {
		if err := yaml.Unmarshal([]byte(read(t, filepath.Join("..", "..", "packaging", "ci", name))), into); err != nil {
			t.Fatal(err)
		}
	}
	var github struct {
		Jobs map[string]struct{ Steps []struct{ Run string } }
	}
	var gitlab map[string]struct{ Script []string }
	parse("github.yml", &github)
	parse("gitlab.yml", &gitlab)
	steps, script := github.Jobs["deploy"].Steps, gitlab["deploy"].Script
	return map[string]string{
		"GitHub Actions": steps[len(steps)-1].Run,
		"GitLab CI":      strings.Join(script[len(script)-2:], "\n"),
	}
}

func TestTheTemplatesForCISystemsDeployWithTheirKey(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	ssh := a.StartSSH()
	a.WriteFile("ssh/user.pub", fmt.Sprintf("command=\"%s --config %s ci-shell\",restrict %s", a.Binary, a.Config,
		read(t, a.Path("ssh", "user.pub"))))
	for name, script := range deploySteps(t) {
		// GitHub has a secret in a variable, GitLab in a file that the variable names.
		key, known := a.Path("ssh", "user"), a.Path("ssh", "known")
		if name == "GitHub Actions" {
			key, known = read(t, key), read(t, known)
		}
		deploy := exec.Command("bash", "-euo", "pipefail", "-c", script)
		deploy.Env = append(os.Environ(), "APP=shop", "HOST="+ssh.URL(), "BUCKET=https://127.0.0.1:1/shop",
			"GITHUB_REF_NAME=1.2", "CI_COMMIT_TAG=1.2", "RUNNER_TEMP="+t.TempDir(), "DEPLOY_KEY="+key, "KNOWN_HOSTS="+known)
		out, err := deploy.CombinedOutput()
		// The bundle cannot be fetched: that superctl tries to proves that the key may deploy.
		if err == nil || !strings.Contains(string(out), "https://127.0.0.1:1/shop/shop-1.2.tar.zst") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
