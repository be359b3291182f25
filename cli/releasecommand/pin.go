//go:build linux

package releasecommand

import (
	"os"
	"os/user"
	"strconv"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/releases"
)

// pinView is the outcome of pin and unpin; its JSON is the output of `pin --json`.
type pinView struct {
	Changed bool   `json:"changed"`
	Release string `json:"release"`
	Pinned  bool   `json:"pinned"`
	Note    string `json:"note,omitempty"`
}

// Pin is the command superctl pin.
func Pin(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "pin", Usage: "protect a release from prune", UsageText: "superctl pin RELEASE [--note TEXT] [--json]",
		Description: `superctl prune never removes a pinned release. superctl releases shows the pins.

   superctl pin 2026-11-23 --note "before the new checkout"
   superctl unpin 2026-11-23`,
		Flags: []cli.Flag{commandline.JSONFlag(), &cli.StringFlag{Name: "note", Usage: "the reason, one line of `TEXT`"}},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 1, 1); err != nil {
				return err
			}
			if err := releases.CheckNote(cc.String("note")); err != nil {
				return commandline.Usagef("pin: --note: %w", err)
			}
			store, name, err := pinned(cc)
			if err != nil {
				return err
			}
			changed, err := store.Pin(name, releases.Pin{Note: cc.String("note"), By: pinningUser(), At: c.Now()})
			return c.print().pin(
				cc, pinView{Changed: changed, Release: name, Pinned: true, Note: cc.String("note")}, err,
			)
		},
	}
}

// Unpin is the command superctl unpin.
func Unpin(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "unpin", Usage: "remove the pin of a release",
		UsageText: "superctl unpin RELEASE [--json]",
		Description: `Removes the pin of a release, so that superctl prune may remove the release.

   superctl unpin 2026-11-23`,
		Flags: []cli.Flag{commandline.JSONFlag()},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 1, 1); err != nil {
				return err
			}
			store, name, err := pinned(cc)
			if err != nil {
				return err
			}
			changed, err := store.Unpin(name)
			return c.print().pin(cc, pinView{Changed: changed, Release: name}, err)
		},
	}
}

// pinned finds the release of a pin or unpin: a pinned one, even if its directory is gone, or any
// existing one.
func pinned(cc *cli.Context) (*releases.Store, string, error) {
	conf, err := app.Load(cc)
	if err != nil {
		return nil, "", err
	}
	store, err := conf.OpenStore()
	if err != nil {
		return nil, "", err
	}
	pins, err := store.Pins()
	if err != nil {
		return nil, "", err
	}
	word, err := app.ReleaseName(conf, cc.Args().First())
	if err != nil {
		return nil, "", err
	}
	if _, ok := pins[word]; ok {
		return store, word, nil
	}
	r, err := app.Release(conf, word)
	return store, r.Name, err
}

// pinningUser returns the name of the user who pins: the user behind sudo, else the current one.
func pinningUser() string {
	if u, err := user.Lookup(os.Getenv("SUDO_USER")); err == nil && os.Getuid() == 0 {
		return u.Username
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

func (pr printer) pin(cc *cli.Context, view pinView, err error) error {
	if err != nil {
		return err
	}
	if cc.Bool("json") {
		return pr.JSON(view)
	}
	switch {
	case view.Pinned && view.Changed:
		terminal.Prose(pr.Stdout, "%s is pinned: superctl prune keeps it", view.Release)
	case view.Pinned:
		terminal.Prose(pr.Stdout, "%s is already pinned; nothing to do", view.Release)
	case view.Changed:
		terminal.Prose(pr.Stdout, "%s is no longer pinned", view.Release)
	default:
		terminal.Prose(pr.Stdout, "%s is not pinned; nothing to do", view.Release)
	}
	return nil
}
