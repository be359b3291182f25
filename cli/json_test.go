//go:build linux

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"superctl/api"
	"superctl/cli/commandline"
)

func TestEveryCommandWithJSONFailsWithOneObject(t *testing.T) {
	var all command
	seen := 0
	for _, cmd := range commandline.Commands(all.groups()) {
		names := []string{}
		for _, f := range cmd.Flags {
			names = append(names, f.Names()...)
		}
		if !slices.Contains(names, "json") {
			continue
		}
		seen++
		var stdout, stderr bytes.Buffer
		code := Main([]string{"superctl", cmd.Name, "--nonsense", "--json"}, strings.NewReader(""), &stdout, &stderr)
		var failure api.Failure
		if err := json.Unmarshal(stdout.Bytes(), &failure); err != nil || failure.Exit != code || code != api.ExitUsage {
			t.Errorf("%s: %q, exit code %d, %v", cmd.Name, stdout.String(), code, err)
		}
		if want := "superctl: " + failure.Error + "\n"; stderr.String() != want {
			t.Errorf("%s: %q on stderr, want %q", cmd.Name, stderr.String(), want)
		}
	}
	if seen < 20 {
		t.Errorf("%d commands have --json", seen)
	}
}

func TestACommandThatAnotherChangeKeepsFromItsOwnSaysHowToFollowIt(t *testing.T) {
	busy := fmt.Errorf("switch r2: %w", &api.BusyError{Changing: api.ChangeStatus{Kind: "switch"}})
	if text := hinted(busy).Error(); !strings.HasSuffix(text, "; superctl attach follows it, and then this command can be run again") ||
		exitCode(hinted(busy)) != api.ExitBusy {
		t.Error(text)
	}
	locked := &api.BusyError{Lock: &api.LockStatus{}}
	if text := hinted(locked).Error(); text != locked.Error() {
		t.Error(text)
	}
}
