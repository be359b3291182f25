package control

import (
	"net/http"
	"net/netip"
	"os"
	"strings"
	"unicode"

	"superctl/proc"
)

// A client sends claims about itself in headers, which an older daemon ignores.
const (
	fromHeader = "Superctl-From"
	sudoHeader = "Superctl-Sudo-User"
)

// addClaims adds to a request what only the client can know: the user's remote address, and the
// user behind sudo.
func addClaims(h http.Header) {
	if host := sshHost(); host != "" {
		h.Set(fromHeader, host)
	}
	name := os.Getenv("SUDO_USER")
	if uid, ok := loginOf(os.Getpid(), uint32(os.Geteuid())); ok {
		name = userName(uid) // a daemon whose unit has ProtectProc= may not be able to read it
	}
	if name = claimedUser(name); name != "" {
		h.Set(sudoHeader, name)
	}
}

// claimedHost returns a claimed host if it is an address, and "" otherwise: only addresses get into
// the history.
func claimedHost(text string) string {
	host, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return host.WithZone("").Unmap().String()
}

// maxNameLength limits the length of a user name (useradd(8)), with room for a domain.
const maxNameLength = 64

func claimedUser(text string) string {
	odd := func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(`-_.@$\`, c)
	}
	if len(text) > maxNameLength || strings.ContainsFunc(text, odd) {
		return ""
	}
	return text
}

// maxAncestors limits how many ancestors of a process are searched.
const maxAncestors = 64

// sshHost returns the remote address of the user who started this process over ssh, or "". sudo
// clears the environment, so the ancestors up to the ssh server are searched too.
func sshHost() string {
	if host := sshClient(os.Environ()); host != "" {
		return host
	}
	pid := os.Getppid()
	for range maxAncestors {
		if pid <= 1 || strings.HasPrefix(nameOf(pid), "sshd") {
			return ""
		}
		if host := sshClient(readEnviron(pid)); host != "" {
			return host
		}
		pid = parentOf(pid)
	}
	return ""
}

// sshClient returns the client's address from an environment that an ssh server created (ssh(1)).
func sshClient(env []string) string {
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if name != "SSH_CONNECTION" && name != "SSH_CLIENT" {
			continue
		}
		from, _, _ := strings.Cut(value, " ")
		if host := claimedHost(from); host != "" {
			return host
		}
	}
	return ""
}

// readEnviron returns the initial environment of a process, or nil if this process may not read it.
func readEnviron(pid int) []string {
	vars, err := proc.Environ(pid)
	if err != nil {
		return nil
	}
	var env []string
	for name, value := range vars.All() {
		env = append(env, name+"="+value)
	}
	return env
}

// nameOf returns the name of a process, or "" if it has ended.
func nameOf(pid int) string {
	name, err := proc.Name(pid)
	if err != nil {
		return ""
	}
	return name
}

// parentOf returns the parent of a process, or 0.
func parentOf(pid int) int {
	s, err := proc.ReadStat(pid)
	if err != nil {
		return 0
	}
	return s.Parent
}
