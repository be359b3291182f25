//go:build linux

// Package app finds the app that a command is for, on this machine: its config, its daemon, how its
// service runs, and the release that a word of the command line means.
package app

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon/control"
)

// ConfigPath returns the path of the app's config.
func ConfigPath(cc *cli.Context) (string, error) {
	path, err := config.Find(cc.String("config"), cc.String("app"), os.Getenv)
	if err == nil {
		err = config.CheckName(path)
	}
	if err != nil {
		return "", &commandline.UsageError{Err: err}
	}
	return path, nil
}

// Load reads the app's config.
func Load(cc *cli.Context) (*config.Config, error) {
	path, err := ConfigPath(cc)
	if err != nil {
		return nil, err
	}
	c, err := config.LoadForClient(path)
	if err != nil {
		return nil, &commandline.UsageError{Err: err}
	}
	return c, nil
}

// Client returns a client for the app's daemon.
func Client(cc *cli.Context) (*control.Client, error) {
	path, err := ConfigPath(cc)
	if err != nil {
		return nil, err
	}
	name, _ := config.State(path)
	return control.NewClient(config.Control(path), name), nil
}

// Open returns the app's config and a client of its daemon, for a command that needs both.
func Open(cc *cli.Context) (*config.Config, *control.Client, error) {
	conf, err := Load(cc)
	if err != nil {
		return nil, nil, err
	}
	client, err := Client(cc)
	return conf, client, err
}

// AskTime is how long a command waits for the daemon's answer if it can continue without it.
const AskTime = 2 * time.Second

// ExampleName returns the name of the app for use in an example command, or NAME if it is unknown.
func ExampleName(cc *cli.Context) string {
	if path, err := ConfigPath(cc); err == nil {
		if app, _ := config.State(path); app != "" {
			return app
		}
	}
	return "NAME"
}
