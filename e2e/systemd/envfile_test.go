package systemd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// envFiles are files that each test a rule of EnvironmentFile= in systemd.exec(5).
func envFiles() []string {
	return []string{
		"A=1\nB=2", "  A  =  1 2  \n", "A=1\r\nB=\"2\"\r\nC='3'\r\n", "# c\n; c=1\n\nA=1\n",
		"A=1 # no comment\nB=2;3\n", " # c\n\t;A=1\nB=1\n",
		`A="pa\"ss\\word\$1"`, `A="\n\t\x\` + "`" + `"`, `A='\n"$'`, `A=\$x\"\\`, `A=\ x\ `, "A=one\\\n two\n",
		"A=\"one\\\ntwo\nthree\"\nB=2",
		"A='-----BEGIN\nx=y\n-----END'\nB=2", `A="x"'y' z`, `A=x "y"`, `A="x "`, "A=x \\\n", "A=x  \\", "A=\nB=\"\"\n",
		"A=1\nA=2\n", "A=b=c==\n",
		"A=\"open\nB=2\n", "A='open\nB=2\n", "A=\"open\\", "SECRET-KEY=1\nB=2\n", "1A=1\nB=2", "=1\nB=2", "A B=1\nB=2",
		"no equals\nB=2", "A\n=1\nB=2",
		"A={\"a\": 1}\nB=${A} $B\n", "A=caf\u00e9\n", "A=\"x\"\\\ny\n", "A='x'\\\r\ny\n", "A=x\\\r\nB=y\n",
		"A=\x01\x1b\x7f\n", "A=\"\t\"\n", "A=1\n\\\nB=2\n",
		"# comment \\\nA=1\n", "# comment \\\\\nA=1\n", ";\\\nA=1\n",
	}
}

// randomEnvFile returns a file of bytes with a meaning for the parser, and some without.
func randomEnvFile(r *rand.Rand) string {
	pieces := []string{
		"A=", "B=", "\nC=", "\n", "\r", "\r\n", "\\", "\"", "'", "#", ";", " ", "\t", "=", "$", "`", "x", "y1", "-",
		"\\\n", "\\\"", "\\$", "é",
	}
	var b strings.Builder
	b.WriteString("A=")
	for range 3 + r.IntN(24) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func TestSuperctlReadsEnvFilesLikeSystemd(t *testing.T) {
	cases := envFiles()
	random := rand.New(rand.NewPCG(11, 6))
	for range 200 {
		cases = append(cases, randomEnvFile(random))
	}
	files, out := t.TempDir(), t.TempDir()
	service := filepath.Join(files, "env@.service")
	must(
		t,
		os.WriteFile(
			service,
			[]byte("[Service]\nType=oneshot\nEnvironmentFile=/cases/%i\nExecStart=/bin/sh -c 'exec env -0 >/out/%i.systemd'\n"),
			0o644,
		),
	)
	s := newSite(t, Options{Units: []Bind{
		{From: files, To: "/cases"}, {From: out, To: "/out", Writable: true}, {
			From: service, To: "/etc/systemd/system/env@.service",
		},
	}}, "r1")
	units := []string{"systemctl", "start"}
	for i, text := range cases {
		must(t, os.WriteFile(filepath.Join(files, fmt.Sprint(i)), []byte(text), 0o644))
		units = append(units, fmt.Sprintf("env@%d", i))
		config := fmt.Sprintf(
			"app = \"c%d\"\nuser = \"root\"\nreleases = \"/srv/shop/releases\"\nenv_file = \"/cases/%d\"\nstate = \"/var/lib/none\"\n[process.web]\ncommand = \"true\"\n",
			i, i,
		)
		must(t, os.WriteFile(filepath.Join(files, fmt.Sprintf("c%d.toml", i)), []byte(config), 0o644))
	}
	s.Run(units...).Want(0)
	s.Run(
		"sh", "-c",
		fmt.Sprintf(
			"set -e; i=0; while [ $i -lt %d ]; do superctl --config /cases/c$i.toml exec --release r1 -- env -0 >/out/$i.superctl; i=$((i+1)); done",
			len(cases),
		),
	).Want(0)
	// before 254, a backslash continued a comment
	commentLines := strings.HasPrefix(s.Run("systemctl", "--version").Stdout, "systemd 252")
	for i, text := range cases {
		if commentLines && continuesComment(text) {
			continue
		}
		systemd, superctl := envOf(t, filepath.Join(out, fmt.Sprintf("%d.systemd", i))), envOf(
			t, filepath.Join(out, fmt.Sprintf("%d.superctl", i)),
		)
		if !maps.Equal(systemd, superctl) {
			t.Errorf("%q:\nsystemd  %q\nsuperctl %q", text, systemd, superctl)
		}
	}
}

// continuesComment reports whether a file may have a comment line that ends with a backslash.
func continuesComment(text string) bool {
	return strings.ContainsAny(text, "#;") && (strings.Contains(text, "\\\n") || strings.Contains(text, "\\\r"))
}

// envOf returns the variables that a program gets from its env_file.
func envOf(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	env := make(map[string]string)
	for kv := range strings.SplitSeq(string(data), "\x00") {
		if name, value, _ := strings.Cut(kv, "="); slices.Contains([]string{"A", "B", "C"}, name) {
			env[name] = value
		}
	}
	return env
}
