package setup

import (
	"fmt"
	"strings"

	"superctl/socket"
)

// Check returns an error for an answer that cannot be right.
func (a *Answers) Check() error {
	if err := a.checkPlaces(); err != nil {
		return err
	}
	switch {
	case a.Name != "" && appName(a.Name) != a.Name:
		return fmt.Errorf("invalid --name %q: use lowercase letters, digits, - and _", a.Name)
	case a.User != "" && !userName.MatchString(a.User):
		return fmt.Errorf("invalid --user %q", a.User)
	case a.Health != "" && !strings.HasPrefix(a.Health, "/"):
		return fmt.Errorf("invalid --health %q: use a path such as /healthz/", a.Health)
	case (a.Cert == "") != (a.Key == ""):
		return fmt.Errorf("--cert and --key belong together")
	case a.Workers < 0 || a.Workers > 1000:
		return fmt.Errorf("invalid --workers %d: use 1 to 1000", a.Workers)
	}
	return nil
}

// checkPlaces checks domains, paths and the address.
func (a *Answers) checkPlaces() error {
	for _, domain := range a.Domains {
		if !isDomain(strings.TrimPrefix(domain, ".")) {
			return fmt.Errorf("invalid domain %q: use a name such as shop.example.com", domain)
		}
	}
	for flag, path := range map[string]string{"base": a.Base, "cert": a.Cert, "key": a.Key} {
		if path != "" && !safePath(path) {
			return fmt.Errorf("invalid --%s %q: use an absolute path of letters, digits and -_.@+", flag, path)
		}
	}
	if a.Address == "" {
		return nil
	}
	_, err := socket.ParseAddress(a.Address)
	return err
}

// Set gives the answer to an UnknownError. It reports whether there is such an answer.
func (a *Answers) Set(name, value string) bool {
	switch name {
	case "name":
		a.Name = value
	case "user":
		a.User = value
	case "base":
		a.Base = value
	case "command":
		a.Command = value
	case "domain":
		a.Domains = strings.Fields(value)
	default:
		return false
	}
	return true
}
