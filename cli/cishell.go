//go:build linux

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
)

// originalCommand is the variable in which sshd passes the command of a client whose key has a
// command of its own (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
const originalCommand = "SSH_ORIGINAL_COMMAND"

func ciShellCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "ci-shell", Usage: "let an ssh key deploy, and do nothing else",
		UsageText: "superctl ci-shell",
		Description: `For the authorized_keys of the app's user, or of root: a key of a CI system with this command may run
"deploy" with the URL of a bundle, and "status", for one app. Everything else is refused.

   command="superctl --app shop ci-shell",restrict ssh-ed25519 AAAA... ci

The CI system then runs, for example:

   ssh deploy@web1.example.com deploy s3://releases/shop/shop-1.2.tar.zst --wait-lock 5m`,
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			path, err := app.ConfigPath(cc)
			if err != nil {
				return err
			}
			original := os.Getenv(originalCommand)
			words, err := ciCommand(original)
			if err != nil {
				asJSON := slices.Contains(strings.Fields(original), "--json")
				commandline.Explain(c.Stdout, c.Stderr, fmt.Errorf("ci-shell: %w", err), api.ExitUsage, asJSON)
				return &commandline.ExitError{Code: api.ExitUsage}
			}
			args := append([]string{"superctl", "--config", path}, words...)
			if code := Main(args, cc.App.Reader, terminal.Raw(c.Stdout), terminal.Raw(c.Stderr)); code != api.ExitDone {
				return &commandline.ExitError{Code: code}
			}
			return nil
		},
	}
}

// ciOptions are the options that a key of a CI system may use, by command, with whether each has a
// value. They neither run a command nor override a check.
func ciOptions(command string) map[string]bool {
	switch command {
	case "deploy":
		return map[string]bool{
			"json": false, "dry-run": false, "plan": false, "wait-lock": true, "expect": true, "run": true, "by": true,
			"canary": true, "canary-from": true, "for": true,
		}
	case "status":
		return map[string]bool{"json": false}
	}
	return nil
}

// ciCommand returns the words of the command that a client wants to run over ssh, if its key may.
func ciCommand(text string) ([]string, error) {
	words, err := shellquote.Split(text)
	if err != nil {
		return nil, errors.New("the command cannot be read: a quote is not closed")
	}
	if len(words) > 0 && words[0] == "superctl" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, errors.New("this key has no shell: run deploy URL, or status")
	}
	known := ciOptions(words[0])
	if known == nil {
		return nil, fmt.Errorf("%q is not allowed with this key: it may run deploy and status", words[0])
	}
	arguments, err := ciArguments(words[0], words[1:], known)
	if err != nil {
		return nil, err
	}
	if words[0] != "deploy" {
		return words, nil
	}
	if len(arguments) != 1 {
		return nil, errors.New("deploy needs one URL of a bundle: deploy https://ci.example.com/shop-1.2.tar.zst")
	}
	if !isBundleURL(arguments[0]) {
		return nil, fmt.Errorf("deploy %q: this key may deploy only from https:// and s3://", arguments[0])
	}
	return words, nil
}

// ciArguments returns the arguments of a command that are not options, and an error if an option is
// not allowed.
func ciArguments(command string, words []string, known map[string]bool) (arguments []string, err error) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") {
			arguments = append(arguments, word)
			continue
		}
		name, _, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		takesValue, ok := known[name]
		if !ok || !strings.HasPrefix(word, "--") {
			return nil, fmt.Errorf("the option %s of %s is not allowed with this key", word, command)
		}
		if !takesValue || joined {
			continue
		}
		if i++; i == len(words) || strings.HasPrefix(words[i], "-") { // the command line must not read it otherwise
			return nil, fmt.Errorf("the option %s needs a value", word)
		}
	}
	return arguments, nil
}

// isBundleURL reports whether a word is the address of a bundle on another machine.
func isBundleURL(word string) bool {
	return slices.ContainsFunc([]string{"https://", "s3://"}, func(scheme string) bool {
		return strings.HasPrefix(word, scheme)
	})
}
