package cli

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"superctl/supervisor/worker/starter"
)

// starterAllocations is how many allocations the packages may make that are initialised before a
// starter runs: today 122, of which runtime/metrics makes 95 in 0.04 ms. All packages of superctl
// together make ten thousand, for which each worker would pay with milliseconds of processor time.
const starterAllocations = 300

func TestAStarterRunsBeforeTheProgramIsInitialised(t *testing.T) {
	cmd := exec.Command(executable(t))
	cmd.Env = []string{starter.Variable + "=0", "GODEBUG=inittrace=1"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("without an order it ends with %v\n%s", err, out)
	}
	packages, allocations := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) allocs$`).FindAllStringSubmatch(string(out), -1) {
		if m[1] == "os" || m[1] == "unicode" {
			t.Errorf("%s is initialised before the starter", m[1])
		}
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		packages++
		allocations += n
	}
	if packages == 0 || allocations > starterAllocations {
		t.Errorf("%d packages make %d allocations before the starter runs, want at most %d:\n%s",
			packages, allocations, starterAllocations, out)
	}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
