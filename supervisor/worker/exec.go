package worker

import (
	"errors"
	"os"
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
	o := order{User: c.User}
	if err := o.changeUser(); err != nil {
		return err
	}
	secrets, err := c.Secrets.readAll()
	if err != nil {
		return err
	}
	if err := os.Chdir(c.Dir); err != nil {
		return err
	}
	return execute(path, c.Args, append(c.Env, secrets...))
}
