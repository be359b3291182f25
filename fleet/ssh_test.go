package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/fleet/inventory"
)

// sshScript is an ssh whose hosts are this machine: it records its arguments and runs the command
// line in the shell that a host would.
const sshScript = `#!/bin/sh
for word; do last=$word; printf '%s\n' "$word" >>"$0.args"; done
[ -e "$0.lost" ] && { echo "Connection timed out" >&2; exit 255; }
PATH=$(dirname "$0"):$PATH exec sh -c "$last"
`

// superctlScript is the superctl of such a host.
const superctlScript = `#!/bin/sh
[ "$1 $2" = "--app shop" ] || exit 99
shift 2
case $1 in
install) for file; do :; done; cat "$file" "$file.minisig"; dirname "$file" >"$0.dir" ;;
wait) echo begun; cat >/dev/null; echo ended; exit 1 ;;
fail) echo first >&2; echo "superctl: no release 7" >&2; exit 4 ;;
*) printf '<%s>' "$@" ;;
esac
`

const sudoScript = `#!/bin/sh
[ "$1" = -n ] || exit 98
echo sudo >>"$0.used"
shift
exec "$@"
`

// sshTo returns an SSH to web1 and web2, and the directory of its programs.
func sshTo(t *testing.T) (*SSH, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"ssh": sshScript, "superctl": superctlScript, "sudo": sudoScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f := &inventory.Fleet{
		Name: "production", App: "shop",
		Hosts: []inventory.Host{{Name: "web1"}, {Name: "web2", Address: "10.0.0.2", User: "deploy", Port: "2222"}},
	}
	return &SSH{Fleet: f, Program: filepath.Join(dir, "ssh"), Options: []string{"-F", "some config"}}, dir
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestArgumentsReachTheHostAsTheyAre(t *testing.T) {
	s, dir := sshTo(t)
	args := []string{"switch", "a b", "$HOME", "it's", `"x"`, "-;|&*?", "", "ü\\"}
	var out bytes.Buffer
	if err := s.Run(t.Context(), "web2", Call{Args: args, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if want := "<" + strings.Join(args, "><") + ">"; out.String() != want {
		t.Errorf("%s instead of %s", &out, want)
	}
	got := lines(t, filepath.Join(dir, "ssh.args"))
	for _, words := range [][]string{
		{"-F", "some config"},
		{"-o", "BatchMode=yes"},
		{"-o", "ServerAliveInterval=2"},
		{"-l", "deploy", "-p", "2222", "10.0.0.2", "--"},
	} {
		if !strings.Contains(strings.Join(got, "\n")+"\n", strings.Join(words, "\n")+"\n") {
			t.Errorf("ssh got %q, without %q", got, words)
		}
	}
}

func TestSudoIsUsedWhereItIsSaid(t *testing.T) {
	for sudo, want := range map[bool]bool{true: true, false: false} {
		s, dir := sshTo(t)
		s.Fleet.Sudo = &sudo
		if err := s.Run(t.Context(), "web1", Call{Args: []string{"status"}}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "sudo.used")); (err == nil) != want {
			t.Errorf("sudo = %v: %v", sudo, err)
		}
	}
}

func TestABundleIsSentWithItsSignatureAndRemoved(t *testing.T) {
	s, dir := sshTo(t)
	path := filepath.Join(t.TempDir(), "shop-1 2.tar.zst")
	content := bytes.Repeat([]byte("wheel"), 300_000)
	for name, data := range map[string][]byte{path: content, path + ".minisig": []byte("signed")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := s.Ship(t.Context(), "web1", &Bundle{Path: path}, Call{Args: []string{"install", "--json"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if want := append(content, "signed"...); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes arrived instead of %d", out.Len(), len(want))
	}
	copied := lines(t, filepath.Join(dir, "superctl.dir"))[0]
	if _, err := os.Stat(copied); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", copied, err)
	}
}

func TestExitCodesAreThoseOfTheHost(t *testing.T) {
	s, dir := sshTo(t)
	var exit *ExitError
	if err := s.Run(t.Context(), "web1", Call{Args: []string{"fail"}}); !errors.As(err, &exit) || exit.Code != 4 ||
		exit.Stderr != "no release 7" {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ssh.lost"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), "web1", Call{Args: []string{"status"}}); !isLost(err) || err.Error() != "Connection timed out" {
		t.Errorf("%v", err)
	}
	s.Program = filepath.Join(dir, "none")
	if err := s.Run(t.Context(), "web1", Call{}); !isLost(err) {
		t.Errorf("%v", err)
	}
}

// TestTheEndOfTheContextEndsStdin shows that a command gets to abort what it does: it sees the end
// of its stdin and still prints.
func TestTheEndOfTheContextEndsStdin(t *testing.T) {
	s, _ := sshTo(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdin, _ := io.Pipe()
	defer stdin.Close()
	out, stdout := io.Pipe()
	go func() {
		err := s.Run(ctx, "web1", Call{Args: []string{"wait"}, Stdin: stdin, Stdout: stdout})
		stdout.CloseWithError(err)
	}()
	for in := bufio.NewScanner(out); in.Scan(); {
		switch in.Text() {
		case "begun":
			cancel()
		case "ended":
			return
		}
	}
	t.Error("it did not print that it had ended")
}
