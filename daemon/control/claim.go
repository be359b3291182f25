package control

import (
	"bytes"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// What a client says of itself is in headers, which an older daemon passes over.
const (
	fromHeader = "Superctl-From"
	sudoHeader = "Superctl-Sudo-User"
)

// claim adds to a request what only this process can know: from where its person has come, and who that is behind sudo.
func claim(h http.Header) {
	if host := sshHost(); host != "" {
		h.Set(fromHeader, host)
	}
	name := os.Getenv("SUDO_USER")
	if uid, ok := loginOf(os.Getpid(), uint32(os.Geteuid())); ok {
		name = userName(uid) // a daemon whose unit has ProtectProc= may not see it itself
	}
	if name = claimedUser(name); name != "" {
		h.Set(sudoHeader, name)
	}
}

// claimedHost is a host as a client may claim it: an address, and nothing else gets into the history.
func claimedHost(text string) string {
	host, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return host.WithZone("").Unmap().String()
}

// longestName is the longest name of a user (useradd(8)), with room for a domain.
const longestName = 64

func claimedUser(text string) string {
	odd := func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(`-_.@$\`, c)
	}
	if len(text) > longestName || strings.ContainsFunc(text, odd) {
		return ""
	}
	return text
}

// generations is how far up the processes are looked at; nobody is nested deeper.
const generations = 64

// sshHost is where the person who has started this process has come from by ssh, or "". sudo clears the environment, so that those of
// the processes above count too, up to the server's.
func sshHost() string {
	if host := sshClient(os.Environ()); host != "" {
		return host
	}
	pid := os.Getppid()
	for range generations {
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

// sshClient is the client's address in an environment that an ssh server has made (ssh(1)).
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

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// readEnviron is the environment that a process was started with, or nothing when we may not know.
func readEnviron(pid int) []string {
	data, err := os.ReadFile(procDir(pid) + "/environ")
	if err != nil {
		return nil
	}
	var env []string
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		env = append(env, string(kv))
	}
	return env
}

func nameOf(pid int) string {
	name, err := os.ReadFile(procDir(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// parentOf is the parent of a process, or 0 (proc_pid_stat(5), field 4, behind the name in brackets).
func parentOf(pid int) int {
	stat, err := os.ReadFile(procDir(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}
