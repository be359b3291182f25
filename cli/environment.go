//go:build linux

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/daemon/control"
)

// showEnvironment runs `status --env`.
func (pr printer) showEnvironment(ctx context.Context, daemonClient *control.Client, cc *cli.Context) error {
	if cc.Bool("watch") {
		return &usageError{errors.New("status: --env and --watch cannot be combined: remove --watch")}
	}
	st, err := daemonClient.Environment(ctx)
	switch {
	case err != nil:
		return err
	case cc.Bool("json"):
		return pr.json(st)
	}
	writeEnvironment(pr.stdout, &st, paletteFor(pr.stdout))
	return nil
}

func writeEnvironment(w io.Writer, st *api.EnvironmentStatus, p palette) {
	if st.Release == "" {
		fmt.Fprintf(w, "%s: no release is live\n", p.bold(st.App))
		return
	}
	fmt.Fprintf(w, "%s: %s, generation %d\n", p.bold(st.App), p.bold(st.Release), st.Generation)
	for _, process := range st.Processes {
		var t table
		fmt.Fprintln(w)
		t.row(p.dim(strings.ToUpper(process.Process)), p.dim("SOURCE"))
		for _, v := range process.Variables {
			t.row(v.Name, v.From)
		}
		t.write(w, "  ")
	}
}
