//go:build linux

package lookcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/daemon/control"
)

// showEnvironment runs `status --env`.
func (pr printer) showEnvironment(ctx context.Context, daemonClient *control.Client, cc *cli.Context) error {
	if cc.Bool("watch") {
		return &commandline.UsageError{Err: errors.New("status: --env and --watch cannot be combined: remove --watch")}
	}
	st, err := daemonClient.Environment(ctx)
	switch {
	case err != nil:
		return err
	case cc.Bool("json"):
		return pr.JSON(st)
	}
	writeEnvironment(pr.Stdout, &st, terminal.PaletteFor(pr.Stdout))
	return nil
}

func writeEnvironment(w io.Writer, st *api.EnvironmentStatus, p terminal.Palette) {
	if st.Release == "" {
		fmt.Fprintf(w, "%s: no release is live\n", p.Bold(st.App))
		return
	}
	fmt.Fprintf(w, "%s: %s, generation %d\n", p.Bold(st.App), p.Bold(st.Release), st.Generation)
	for _, process := range st.Processes {
		var t terminal.Table
		fmt.Fprintln(w)
		t.Row(p.Dim(strings.ToUpper(process.Process)), p.Dim("SOURCE"))
		for _, v := range process.Variables {
			t.Row(v.Name, v.From)
		}
		t.Write(w, "  ")
	}
}
