//go:build linux

package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"superctl/api"
)

func TestTheReadmeNamesEveryExitCode(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range api.ExitCodes() {
		if row := fmt.Sprintf("| %d | %s |\n", e.Code, e.Meaning); !strings.Contains(string(readme), row) {
			t.Errorf("README.md lacks the row %q", row)
		}
	}
}
