//go:build linux

package lookcommand

import (
	"flag"
	"testing"

	"github.com/urfave/cli/v2"

	"superctl/api"
)

func TestLogsWithoutLinesSayWhereOlderOnesAre(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SUPERCTL_APP", "shop")
	cc := cli.NewContext(&cli.App{}, flag.NewFlagSet("logs", flag.ContinueOnError), nil)
	got := noLines(cc, api.LogQuery{Process: "web", Release: "r42"})
	const want = "the daemon keeps no lines of process web of release r42; journalctl -u superctl@NAME has older ones"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
