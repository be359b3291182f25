package notify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// secretLimit is the maximum size of a secret in bytes.
const secretLimit = 16 << 10

// secretPath returns the file with the target's secret, or "" if it needs none. credentials is the
// daemon's $CREDENTIALS_DIRECTORY.
func (t *Target) secretPath(credentials string) (string, error) {
	if t.Credential == "" {
		return cmp.Or(t.URLFile, t.TokenFile, t.PasswordFile), nil
	}
	if credentials == "" {
		return "", fmt.Errorf(
			"credential %q: there is no $CREDENTIALS_DIRECTORY; the unit needs LoadCredential=%s:/etc/shop/%s",
			t.Credential, t.Credential, t.Credential)
	}
	return filepath.Join(credentials, t.Credential), nil
}

// Check reads the target's secret as the daemon does. It reports what is wrong with the secret
// without showing it. path is the secret's file, or "" for a target without a secret.
func (t *Target) Check(credentials string) (path string, err error) {
	if _, err = t.read(credentials); err != nil {
		return "", err
	}
	return t.secretPath(credentials)
}

// read returns the target's secret, or "" if it needs none.
func (t *Target) read(credentials string) (string, error) {
	path, err := t.secretPath(credentials)
	if err != nil || path == "" {
		return "", err
	}
	secret, err := readSecret(path)
	if err != nil {
		return "", err
	}
	check := serviceOf(t.Service).check
	if t.Service == "webhook" && t.URL != "" {
		check = checkToken
	}
	if err := check(secret); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

func readSecret(path string) (string, error) {
	st, err := os.Stat(path)
	var data []byte
	switch {
	case err != nil:
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", path)
	case st.Size() > secretLimit:
		return "", fmt.Errorf("%s has %d bytes, too many for a secret", path, st.Size())
	default:
		data, err = os.ReadFile(path)
	}
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return "", fmt.Errorf("%s cannot be read: %w", path, err)
	}
	secret := strings.TrimSpace(string(data))
	switch {
	case secret == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%s has more than one line", path)
	}
	return secret, nil
}

// checkToken accepts a token that is valid in an HTTP header.
func checkToken(secret string) error {
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("not a token: it has spaces or characters that are not allowed")
	}
	return nil
}

// checkHTTP accepts an HTTP or HTTPS URL. Its error does not contain the URL.
func checkHTTP(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" {
		return errors.New("not a URL that begins with https://")
	}
	return nil
}

// checkHook accepts the https URL of a service's webhook.
func checkHook(text, example string, right func(u *url.URL) bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || !right(u) {
		return fmt.Errorf("not a webhook URL of the service, such as %s", example)
	}
	return nil
}

// minPiece is the length of the shortest piece of a secret that is redacted by itself.
const minPiece = 6

// redact replaces a secret and its pieces in a text: libraries split URLs and put them together in
// other ways.
func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	pieces := []string{secret}
	rest := secret
	if u, err := url.Parse(secret); err == nil && u.Scheme != "" && u.Host != "" {
		rest = strings.TrimPrefix(secret, u.Scheme+"://")
		if strings.Contains(u.Hostname(), ".") {
			rest = strings.Replace(rest, u.Host, "", 1) // a service's host is not secret
		}
	}
	for _, form := range []string{rest, unescaped(rest)} {
		pieces = append(pieces, form)
		pieces = append(pieces,
			strings.FieldsFunc(form, func(r rune) bool { return strings.ContainsRune("/:@?&=,#;%-. ", r) })...)
	}
	for _, p := range pieces {
		if len(p) >= minPiece || p == secret {
			text = strings.ReplaceAll(text, p, "***")
		}
	}
	return text
}

func unescaped(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
