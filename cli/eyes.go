package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/systemd"
	"superctl/supervisor/worker"
)

// insideFlag is given to the `check` that runs as the service does, with the name of its unit.
const insideFlag = "inside"

// longestCheck is when systemd ends a check that does not end itself.
const longestCheck = time.Hour

// asService has the check of a root user done as the service: by the same command, run by systemd
// with the user and the sandbox of the unit, or where systemd does not run the app, as the daemon's
// user. It reports whether that was done; if not, this process is to look itself.
func (c *command) asService(cc *cli.Context, conf *config.Config, release string) (done bool, err error) {
	if cc.IsSet(insideFlag) || os.Geteuid() != 0 {
		return false, nil
	}
	s, err := serviceOf(cc.Context, conf)
	if err != nil && s.unit == nil { // else systemd says what is wrong with the unit's user, or makes it (DynamicUser=)
		return true, fmt.Errorf("check: how the service runs is not known: %w", err)
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
	case s.unit != nil && (conf.Path == config.PathOf(conf.App) || s.unit.HasArgument(conf.Path)):
		args = append(args, "--"+insideFlag+"="+s.unit.Name)
		return true, c.inUnit(s, append(args, words...))
	case s.unit == nil && s.user != nil && conf.User == nil:
		args = append(append(args, "--"+insideFlag+"="), words...)
		return true, worker.Exec(worker.Command{
			Args: args, Env: s.environment(conf), Dir: "/", User: &s.user.Credential,
		})
	}
	return false, nil
}

// inUnit runs a command as a unit would, with the output of this process.
func (c *command) inUnit(s service, args []string) error {
	ctx, stop := interruptible()
	defer stop()
	stdout, isFile := raw(c.stdout).(*os.File)
	stderr, both := raw(c.stderr).(*os.File)
	if !isFile || !both {
		return errors.New("check: the output is no file that systemd could hand on")
	}
	var env []string
	for _, name := range []string{"TERM", "NO_COLOR", "COLUMNS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	code, without, err := s.unit.RunAs(ctx, systemd.Command{
		Args: args, Env: env, Stdout: stdout, Stderr: stderr, Limit: longestCheck,
	})
	if len(without) > 0 {
		fmt.Fprintf(
			c.stderr, "superctl: check: it ran without %s of %s, which systemd takes for no transient unit\n",
			strings.Join(without, ", "), s.unit.Name,
		)
	}
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if code != 0 {
		return &exitError{code}
	}
	return nil
}

// exitError is the exit code of a command that has said everything itself.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// lookingAs returns empty findings that know with whose eyes they are found.
func (c *command) lookingAs(ctx context.Context, cc *cli.Context, conf *config.Config) *findings {
	f := &findings{
		App: conf.App, User: whoAmI(), Unit: cc.String(insideFlag), List: []finding{}, out: c.stdout,
		paint: paletteFor(c.stdout),
	}
	if cc.Bool("json") {
		f.out, f.paint = io.Discard, false
	}
	switch {
	case f.Unit != "":
		f.ok("looks as user %s, in the sandbox of %s", f.User, f.Unit)
	case cc.IsSet(insideFlag):
		f.ok("looks as user %s, the owner of %s", f.User, conf.State)
	default:
		f.foreign = foreign(ctx, conf)
		if f.foreign {
			f.warn(
				"looks as user %s, and not as the service does: what is forbidden is a warning only (root's check of the service's own config looks as the service)",
				f.User,
			)
		}
	}
	return f
}

// foreign reports whether the service runs as another user than this command, or in a sandbox.
func foreign(ctx context.Context, conf *config.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if unit, err := unitOf(ctx, conf); unit != nil || err != nil {
		return true
	}
	uid, known, err := daemon.Owner(conf)
	return err != nil || known && int(uid) != os.Geteuid()
}
