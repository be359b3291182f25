package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"superctl/releases/bundle"
)

func (c *command) keygenCommand() *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "make a pair of keys to sign bundles with",
		UsageText: "superctl keygen [NAME] [--password | --password-file FILE]",
		Description: `Makes NAME.key, with which superctl build --sign signs, and NAME.pub, which the servers' config trusts. Both are
in minisign's format, so that minisign itself signs and verifies with them, too. The private key stays where bundles are
built; with a password it is encrypted.

   superctl keygen shop
   superctl build --sign shop.key
   minisign -Vm shop-1.0.tar.zst -p shop.pub`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "password", Usage: "ask for a password, and encrypt the private key with it"},
			&cli.StringFlag{Name: "password-file", Usage: "take the password from the first line of `FILE`"},
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 1); err != nil {
				return err
			}
			name := "superctl"
			if cc.NArg() > 0 {
				name = cc.Args().First()
			}
			var password string
			var err error
			if cc.Bool("password") || cc.String("password-file") != "" {
				if password, err = newPassword(cc.String("password-file")); err != nil {
					return err
				}
			}
			return c.keygen(name, password)
		},
	}
}

// keygen writes the two files; it never writes over one, because a lost private key cannot be had
// again.
func (c *command) keygen(name, password string) error {
	secret, open := name+".key", name+".pub"
	for _, path := range []string{secret, open} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keygen: %s is there already; choose another name, or move it away", path)
		}
	}
	public, private, err := bundle.GenerateKey(password)
	if err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	if err := renameio.WriteFile(secret, private, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	if err := renameio.WriteFile(open, public, 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(public)), "\n")
	p := paletteFor(c.stdout)
	fmt.Fprintf(c.stdout, "%s signs (keep it where bundles are built, and a copy of it): superctl build --sign %s\n%s verifies; write it into the config of each server:\n\n   %s\n   keys = [%q]\n",
		p.bold(secret), secret, p.bold(open), p.bold("[trust]"), lines[len(lines)-1])
	return nil
}

// readPrivateKey reads the key that signs; for a password it asks passwordFile, or the person at
// the terminal.
func readPrivateKey(path, passwordFile string) (minisign.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return minisign.PrivateKey{}, fmt.Errorf("the key that signs: %w", err)
	}
	key, err := bundle.PrivateKey(text, func() (string, error) {
		return askPassword(passwordFile, "password of "+filepath.Base(path)+": ")
	})
	if err != nil {
		return key, fmt.Errorf("the key that signs, %s: %w", path, err)
	}
	return key, nil
}

// newPassword has a person say a new password twice.
func newPassword(file string) (string, error) {
	word, err := askPassword(file, "password: ")
	if err != nil {
		return "", err
	}
	if word == "" {
		return "", &usageError{errors.New("keygen: the password is empty; leave --password out for a key without one")}
	}
	if file != "" {
		return word, nil
	}
	again, err := askPassword("", "again: ")
	if err == nil && again != word {
		err = errors.New("keygen: these are two passwords; nothing was made")
	}
	return word, err
}

func askPassword(file, prompt string) (string, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("the password: %w", err)
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("a password is needed, and there is no terminal to ask for it: --password-file names a file that has it")
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	word, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return string(word), err
}
