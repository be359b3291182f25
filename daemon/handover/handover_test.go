package handover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnUpgradeWithoutItsDirectorySaysToMakeItAgain(t *testing.T) {
	u := &Upgrader{dir: filepath.Join(t.TempDir(), "r41")}
	if _, err := u.Directory(); err == nil || !strings.Contains(err.Error(), "make that directory again") {
		t.Errorf("error %v", err)
	}
	if err := os.Mkdir(u.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir, err := u.Directory(); err != nil || dir != u.dir {
		t.Errorf("%q, %v", dir, err)
	}
}
