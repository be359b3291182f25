//go:build linux

package checkcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/systemd"
	"superctl/supervisor/worker"
)

// insideFlag is the hidden flag of a check that runs as the service. Its value is the name of the
// unit, or "" if systemd does not run the app.
const insideFlag = "inside"

// maxCheckTime is the time after which systemd ends a check that runs as the service.
const maxCheckTime = time.Hour

// asService runs the check of a root user as the service: the same command, started by systemd as
// the user and in the sandbox of the unit or, if systemd does not run the app, as the daemon's
// user. It reports whether it did so; if not, this process must check itself.
func (c checks) asService(cc *cli.Context, conf *config.Config, release string) (done bool, err error) {
	if cc.IsSet(insideFlag) || os.Geteuid() != 0 {
		return false, nil
	}
	s, err := app.ServiceOf(cc.Context, conf)
	// With a unit, systemd reports a problem with the user, or creates the user (DynamicUser=).
	if err != nil && s.Unit == nil {
		return true, fmt.Errorf("check: user of the service: %w", err)
	}
	binary, err := os.Executable()
	if err != nil {
		return true, err
	}
	args := []string{binary, "--config", conf.Path, cc.Command.Name}
	for _, name := range []string{"json", "notify"} {
		if cc.Bool(name) {
			args = append(args, "--"+name)
		}
	}
	var words []string
	if release != "" {
		words = []string{"--", release}
	}
	switch {
	case s.Unit != nil && (conf.Path == config.PathOf(conf.App) || s.Unit.HasArgument(conf.Path)):
		args = append(args, "--"+insideFlag+"="+s.Unit.Name)
		return true, c.inUnit(s, append(args, words...))
	case s.Unit == nil && s.User != nil && conf.User == nil:
		args = append(append(args, "--"+insideFlag+"="), words...)
		return true, worker.Exec(worker.Command{
			Args: args, Env: s.Environment(conf), Dir: "/", User: &s.User.Credential,
		})
	}
	return false, nil
}

// inUnit runs a command as the unit does, with the output of this process.
func (c checks) inUnit(s app.Service, args []string) error {
	ctx, stop := commandline.Interruptible()
	defer stop()
	stdout, isFile := terminal.Raw(c.Stdout).(*os.File)
	stderr, both := terminal.Raw(c.Stderr).(*os.File)
	if !isFile || !both {
		return errors.New("check: systemd can pass on only a file, and the output is not a file")
	}
	var env []string
	for _, name := range []string{"TERM", "NO_COLOR", "COLUMNS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	code, without, err := s.Unit.RunAs(ctx, systemd.Command{
		Args: args, Env: env, Stdout: stdout, Stderr: stderr, Limit: maxCheckTime,
	})
	if len(without) > 0 {
		fmt.Fprintf(
			c.Stderr, "superctl: check: ran without %s of %s: systemd does not accept it for a transient unit\n",
			strings.Join(without, ", "), s.Unit.Name,
		)
	}
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if code != 0 {
		return &commandline.ExitError{Code: code}
	}
	return nil
}

// newFindings returns findings whose first entry names the user and the sandbox of this check.
func (pr printer) newFindings(ctx context.Context, cc *cli.Context, conf *config.Config) *findings {
	f := &findings{
		App: conf.App, User: app.CurrentUser(), Unit: cc.String(insideFlag), List: []finding{}, out: pr.Stdout,
		paint: terminal.PaletteFor(pr.Stdout),
	}
	if cc.Bool("json") {
		f.out, f.paint = io.Discard, false
	}
	switch {
	case f.Unit != "":
		f.ok("checking as user %s, in the sandbox of %s", f.User, f.Unit)
	case cc.IsSet(insideFlag):
		f.ok("checking as user %s, the owner of %s", f.User, conf.State)
	default:
		f.lenient = runsAsOther(ctx, conf)
		if f.lenient {
			f.warn(
				"checking as user %s, not as the service: a denied access is only a warning "+
					"(run the check as root to check as the service)", f.User,
			)
		}
	}
	return f
}

// runsAsOther reports whether the service runs as another user than this command, or in a sandbox,
// so that it may have other permissions.
func runsAsOther(ctx context.Context, conf *config.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	if unit, err := app.UnitOf(ctx, conf); unit != nil || err != nil {
		return true
	}
	uid, known, err := daemon.Owner(conf)
	return err != nil || known && int(uid) != os.Geteuid()
}
