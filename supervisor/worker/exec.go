package worker

import (
	"errors"
	"runtime"

	"superctl/supervisor/worker/starter"
)

// Exec replaces this process by a command, in the environment, the directory and as the user that a
// worker would have. The terminal, the signals and the exit code are the command's own. It returns
// only when it fails.
func Exec(c Command) error {
	if len(c.Args) == 0 {
		return errors.New("the command is empty")
	}
	path, err := LookPath(c.Args[0], c.Env, c.Dir)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	o := starter.Order{Path: path, Args: c.Args, Env: c.Env, Secrets: c.Secrets, Dir: c.Dir, User: c.User}
	return o.Exec()
}
