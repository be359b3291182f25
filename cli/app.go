//go:build linux

package cli

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon/control"
)

// configPath returns the path of the app's config.
func configPath(cc *cli.Context) (string, error) {
	path, err := config.Find(cc.String("config"), cc.String("app"), os.Getenv)
	if err == nil {
		err = config.CheckName(path)
	}
	if err != nil {
		return "", &commandline.UsageError{Err: err}
	}
	return path, nil
}

// load reads the app's config.
func load(cc *cli.Context) (*config.Config, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	c, err := config.LoadForClient(path)
	if err != nil {
		return nil, &commandline.UsageError{Err: err}
	}
	return c, nil
}

// client returns a client for the app's daemon.
func client(cc *cli.Context) (*control.Client, error) {
	path, err := configPath(cc)
	if err != nil {
		return nil, err
	}
	return control.NewClient(config.Control(path)), nil
}

// askTime is how long a command waits for the daemon's answer if it can continue without it.
const askTime = 2 * time.Second

// exampleApp returns the name of the app for use in an example command, or NAME if it is unknown.
func exampleApp(cc *cli.Context) string {
	if path, err := configPath(cc); err == nil {
		if app, _ := config.State(path); app != "" {
			return app
		}
	}
	return "NAME"
}
