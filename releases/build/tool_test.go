package build

import (
	"errors"
	"strings"
	"testing"
)

func TestAnErrorShowsBothEndsOfALongLine(t *testing.T) {
	long := "ERROR: no version of Django==99 (from versions: 1.1.3, " + strings.Repeat("1.2, ", 1000) + "5.2.18, 5.2.19)"
	err := &toolError{"pip download", errors.New("exit code 1"), []string{"Looking in links", long}}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || lines[1] != "  | Looking in links" || len(lines[2]) > 320 ||
		!strings.HasPrefix(lines[2], "  | ERROR: no version of Django==99 (from") || !strings.HasSuffix(lines[2], "5.2.18, 5.2.19)") {
		t.Errorf("%s", err)
	}
}
