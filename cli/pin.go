package cli

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/urfave/cli/v2"

	"superctl/releases"
)

// pinView is what pin and unpin have done; its JSON is that of `pin --json`.
type pinView struct {
	Changed bool   `json:"changed"`
	Release string `json:"release"`
	Pinned  bool   `json:"pinned"`
	Note    string `json:"note,omitempty"`
}

func (c *command) pinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "keep a release for good", UsageText: "superctl pin RELEASE [--note TEXT] [--json]",
		Description: `A pinned release is never removed by superctl prune, however old it is. superctl releases shows which are.

   superctl pin 2026-11-23 --note "before the new checkout"
   superctl unpin 2026-11-23`,
		Flags: []cli.Flag{jsonFlag(), &cli.StringFlag{Name: "note", Usage: "why, as one line of `TEXT`"}},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 1, 1); err != nil {
				return err
			}
			if err := releases.CheckNote(cc.String("note")); err != nil {
				return &usageError{fmt.Errorf("pin: --note: %w", err)}
			}
			store, name, err := pinned(cc)
			if err != nil {
				return err
			}
			changed, err := store.Pin(name, releases.Pin{Note: cc.String("note"), By: me(), At: c.now()})
			return c.tellPin(cc, pinView{Changed: changed, Release: name, Pinned: true, Note: cc.String("note")}, err)
		},
	}
}

func (c *command) unpinCommand() *cli.Command {
	return &cli.Command{
		Name: "unpin", Usage: "let prune remove a release that was pinned",
		UsageText: "superctl unpin RELEASE [--json]",
		Description: `Takes back what superctl pin has done.

   superctl unpin 2026-11-23`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 1, 1); err != nil {
				return err
			}
			store, name, err := pinned(cc)
			if err != nil {
				return err
			}
			changed, err := store.Unpin(name)
			return c.tellPin(cc, pinView{Changed: changed, Release: name}, err)
		},
	}
}

// pinned finds the release that is meant: one that is pinned already, though it may be gone, or any
// that is there.
func pinned(cc *cli.Context) (*releases.Store, string, error) {
	conf, err := load(cc)
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
	word, err := releaseWord(conf, cc.Args().First())
	if err != nil {
		return nil, "", err
	}
	if _, ok := pins[word]; ok {
		return store, word, nil
	}
	r, err := execRelease(conf, word)
	return store, r.Name, err
}

// me is who pins: the person behind sudo, else the user.
func me() string {
	if u, err := user.Lookup(os.Getenv("SUDO_USER")); err == nil && os.Getuid() == 0 {
		return u.Username
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

func (c *command) tellPin(cc *cli.Context, view pinView, err error) error {
	if err != nil {
		return err
	}
	if cc.Bool("json") {
		return c.json(view)
	}
	switch {
	case view.Pinned && view.Changed:
		fmt.Fprintf(c.stdout, "%s is pinned: superctl prune leaves it alone\n", view.Release)
	case view.Pinned:
		fmt.Fprintf(c.stdout, "%s is pinned already; nothing to do\n", view.Release)
	case view.Changed:
		fmt.Fprintf(c.stdout, "%s is not pinned any more\n", view.Release)
	default:
		fmt.Fprintf(c.stdout, "%s is not pinned; nothing to do\n", view.Release)
	}
	return nil
}
