package commandline

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/maintenance"
)

// PageSumFlag is a hidden flag of maintenance on: the SHA-256 of a page on standard input. A page that
// arrives over a connection which breaks is refused, and not shown in part.
const PageSumFlag = "page-sha256"

// MaintenanceFlags are the flags of maintenance on.
func MaintenanceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "page", Usage: "on: the HTML `FILE` to show, at most 256 KiB; - is standard input (default: a page of superctl's)",
		},
		&cli.DurationFlag{
			Name: "retry-after", Value: maintenance.DefaultRetryAfter,
			Usage: "on: the `DURATION` that clients are told to wait",
		},
		&cli.StringFlag{
			Name:  "allow",
			Usage: "on: let connections from these `NETWORKS` reach the app: 203.0.113.0/24,2001:db8::/32",
		},
	}
}

// MaintenancePage returns the page that the argument on and the flags describe, and nil for off. The
// file is read here, as the user who runs the command: no daemon opens a path that a client names.
func MaintenancePage(cc *cli.Context) (*api.MaintenancePage, error) {
	switch word := cc.Args().First(); word {
	case api.MaintenanceOn:
		return pageFromFlags(cc)
	case api.MaintenanceOff:
		for _, flag := range []string{"page", "retry-after", "allow"} {
			if cc.IsSet(flag) {
				return nil, fmt.Errorf("--%s is for maintenance on only", flag)
			}
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("unexpected argument %q: use on or off", word)
	}
}

func pageFromFlags(cc *cli.Context) (page *api.MaintenancePage, err error) {
	page = &api.MaintenancePage{RetryAfter: cc.Duration("retry-after").Round(time.Second)}
	if cc.IsSet("page") {
		if page.Body, err = readPage(cc.String("page"), cc.App.Reader); err != nil {
			return nil, fmt.Errorf("--page: %w", err)
		}
	}
	if sum := cc.String(PageSumFlag); sum != "" && sum != page.Sum() {
		return nil, errors.New("the page did not arrive whole: run the command again")
	}
	if cc.IsSet("allow") {
		if page.Allow, err = Networks("allow", cc.String("allow")); err != nil {
			return nil, err
		}
	}
	return page, page.Validate()
}

func readPage(path string, stdin io.Reader) ([]byte, error) {
	name := path
	var body []byte
	var err error
	switch path {
	case "":
		return nil, errors.New("no file: leave the option out, or give a file")
	case "-":
		name = "standard input"
		body, err = maintenance.ReadPageFrom(stdin, name)
	default:
		body, err = maintenance.ReadPage(path)
	}
	if err == nil && !utf8.Valid(body) {
		return nil, fmt.Errorf("%s is not UTF-8, in which superctl serves it: iconv -f latin1 -t utf-8 converts it", name)
	}
	return body, err
}
