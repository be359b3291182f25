package site

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
