//go:build linux

package releasecommand

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

	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/releases/bundle"
)

// Keygen is the command superctl keygen.
func Keygen(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "keygen", Usage: "create a key pair for signing bundles",
		UsageText: "superctl keygen [NAME] [--password | --password-file FILE]",
		Description: `Creates NAME.key, the private key for superctl build --sign, and NAME.pub, the public key for
[trust] in the config of the servers. Both are minisign keys, so minisign itself can sign and verify
with them. Keep the private key on the machine that builds; a password encrypts it.

   superctl keygen shop
   superctl build --sign shop.key
   minisign -Vm shop-1.0.tar.zst -p shop.pub`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "password", Usage: "ask for a password and encrypt the private key with it"},
			&cli.StringFlag{Name: "password-file", Usage: "read the password from the first line of `FILE`"},
		},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 1); err != nil {
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

// keygen writes the two files. It never overwrites a file, because a private key cannot be
// recovered.
func (c *command) keygen(name, password string) error {
	secret, open := name+".key", name+".pub"
	for _, path := range []string{secret, open} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keygen: %s already exists: choose another name or move the file", path)
		}
	}
	public, private, err := bundle.GenerateKey(password)
	if err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	if err := renameio.WriteFile(secret, private, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("keygen: write %s: %w", secret, reason(err))
	}
	if err := renameio.WriteFile(open, public, 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("keygen: write %s: %w", open, reason(err))
	}
	lines := strings.Split(strings.TrimSpace(string(public)), "\n")
	p := terminal.PaletteFor(c.Stdout)
	fmt.Fprintf(
		c.Stdout,
		"%s is the private key. Keep it, and a backup, where bundles are built: superctl build --sign %s\n"+
			"%s is the public key. Add it to the config of each server:\n\n   %s\n   keys = [%q]\n",
		p.Bold(secret), secret, p.Bold(open), p.Bold("[trust]"), lines[len(lines)-1],
	)
	return nil
}

// reason returns an error without the path, which is that of a temporary file.
func reason(err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// readPrivateKey reads the private key. If the key is encrypted, the password comes from
// passwordFile or from the terminal.
func readPrivateKey(path, passwordFile string) (minisign.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return minisign.PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	key, err := bundle.PrivateKey(text, func() (string, error) {
		return askPassword(passwordFile, "password of "+filepath.Base(path)+": ")
	})
	if err != nil {
		return key, fmt.Errorf("private key %s: %w", path, err)
	}
	return key, nil
}

// newPassword reads a new password, from the terminal twice.
func newPassword(file string) (string, error) {
	word, err := askPassword(file, "password: ")
	if err != nil {
		return "", err
	}
	if word == "" {
		return "", commandline.Usagef("keygen: empty password: for a key without a password, remove --password")
	}
	if file != "" {
		return word, nil
	}
	again, err := askPassword("", "again: ")
	if err == nil && again != word {
		err = errors.New("keygen: the passwords differ; no key was created")
	}
	return word, err
}

func askPassword(file, prompt string) (string, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("password file: %w", err)
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("the key needs a password, and there is no terminal to ask for it: use --password-file")
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	word, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return string(word), err
}
