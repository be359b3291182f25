//go:build faults

package takeover

import (
	"context"
	"os"
	"strings"
	"syscall"
)

// fault dies at a point that SUPERCTL_TAKEOVER_FAULT names, or kills the app's daemon at a point
// with "daemon " before it. The variable has a list of points, separated by commas; each counts once.
func (t *takeover) fault(point string) {
	const variable = "SUPERCTL_TAKEOVER_FAULT"
	var rest []string
	hit := ""
	for at := range strings.SplitSeq(os.Getenv(variable), ",") {
		if hit == "" && (at == point || at == "daemon "+point) {
			hit = at
			continue
		}
		rest = append(rest, at)
	}
	switch hit {
	case "":
		return
	case point:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:forbidigo // this process's own
		select {}                                      // the signal is on its way
	}
	kill := []string{"systemctl", "kill", "--signal=KILL", "--kill-whom=main", t.unit()}
	if t.Run(context.Background(), kill...) == nil { // else it has just been killed at an earlier point
		_ = os.Setenv(variable, strings.Join(rest, ","))
	}
}
