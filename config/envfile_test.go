package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// e2e/systemd compares the same table with systemd itself.
func TestAnEnvFileIsParsedAsBySystemd(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"A=1\nB=2":                           {"A": "1", "B": "2"},
		"  A  =  1 2  \n":                    {"A": "1 2"},
		"A=1\r\nB=\"2\"\r\n":                 {"A": "1", "B": "2"},
		"\ufeffA=1\n":                        {"A": "1"},
		"# c\n; c=1\n\nA=1\n":                {"A": "1"},
		"# a comment \\\nA=1\n":              {"A": "1"},
		"A=1 # no comment\n":                 {"A": "1 # no comment"},
		`A="pa\"ss\\word\$1"`:                {"A": `pa"ss\word$1`},
		`A="\n\t\x"`:                         {"A": `\n\t\x`},
		`A='\n"$'`:                           {"A": `\n"$`},
		`A=\$x\"\\`:                          {"A": `$x"\`},
		"A=one\\\n two\n":                    {"A": "one two"},
		"A=\"one\\\ntwo\nthree\"\nB=2":       {"A": "onetwo\nthree", "B": "2"},
		"A='-----BEGIN\nx=y\n-----END'\nB=2": {"A": "-----BEGIN\nx=y\n-----END", "B": "2"},
		`A="x"'y' z`:                         {"A": "xyz"},
		`A=x "y"`:                            {"A": `x "y"`},
		`A="x "`:                             {"A": "x "},
		"A=x \\\n":                           {"A": "x "},
		"A=\nB=\"\"\n":                       {"A": "", "B": ""},
		"A=1\nA=2\n":                         {"A": "2"},
		"A=b=c==\n":                          {"A": "b=c=="},
		"A=caf\xe9\xff\n":                    {"A": "caf\xe9\xff"},
		"export A=1\nexport  B='2'\n":        {"A": "1", "B": "2"},
		"export\tA=1\nexportB=2\n":           {"A": "1", "exportB": "2"},
		"A={\"a\": \"{release}\"}\n":         {"A": `{"a": "{release}"}`},
	} {
		t.Run(fmt.Sprintf("%q", text), func(t *testing.T) {
			vars, ignored, bad := parseEnvFile("env", []byte(text))
			if bad != nil || len(ignored) > 0 || fmt.Sprintf("%q", vars) != fmt.Sprintf("%q", want) {
				t.Errorf("got %q, ignored %v, error %v; want %q", vars, ignored, bad, want)
			}
		})
	}
}

func TestInvalidLinesOfAnEnvFileAreIgnoredAndReported(t *testing.T) {
	const (
		own  = "ignored: the name is one that superctl sets itself, such as SUPERCTL_APP, LISTEN_FDS and NOTIFY_SOCKET"
		name = "ignored: the name before = is not valid: use letters, digits and _, and no digit first"
	)
	for _, tt := range []struct{ text, want string }{
		{"A=1\nCANARY\n", "2:1: ignored: there is no = in the line"},
		{"CANARY", "1:1: ignored: there is no = in the line"},
		{"A=1\nSECRET-KEY=CANARY\n", "2:1: " + name},
		{"=CANARY=1\n", "1:1: " + name},
		{"A=\"1\n2\"\n1A=CANARY", "3:1: " + name},
		{"A=1\nexport SUPERCTL_APP=CANARY\n", "2:1: " + own},
		{"LISTEN_PID=1\n", "1:1: " + own},
		{"A=1\nB=\"CANARY\nC=2\n", "2:1: the quote is not closed: the rest of the file is in the value"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			c, err := read("env_file = \"" + write(t, "env", tt.text) + "\"\n" + minimal)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Warnings) != 1 || !strings.HasSuffix(c.Warnings[0], "/env:"+tt.want) {
				t.Errorf("got %q, want /env:%s", c.Warnings, tt.want)
			}
		})
	}
}

func TestAnEnvFileWithANULByteIsRefused(t *testing.T) {
	path := write(t, "env", "A=1\nB=CANARY\x00y\n")
	_, err := read("env_file = \"" + path + "\"\n" + minimal)
	if want := path + ":2:1: there is a NUL byte, which no variable can have"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// FuzzEnvFile proves that no message contains content of the file, and that every variable is
// valid.
func FuzzEnvFile(f *testing.F) {
	for _, seed := range []string{
		"A=%s\n", "%s\n", "SECRET-KEY=%s", "A=\"%s", "A='x\n%s\n", "%s=1", "LISTEN_%s=1",
		"export %s\n", "# %s\\\nB=%s\x00",
	} {
		f.Add(seed)
	}
	const canary = "cAnArY0x7f"
	f.Fuzz(func(t *testing.T, text string) {
		vars, ignored, bad := parseEnvFile("env", []byte(strings.ReplaceAll(text, "%s", canary)))
		if said := fmt.Sprint(ignored, bad); strings.Contains(said, canary) {
			t.Fatalf("%q is said", said)
		}
		for name, value := range vars {
			if !envName.MatchString(name) || reserved(name) || slices.Contains([]byte(value), 0) {
				t.Fatalf("%q = %q", name, value)
			}
		}
	})
}

func TestATooLargeEnvFileIsNotRead(t *testing.T) {
	path := write(t, "env", strings.Repeat("#", fileLimit+1))
	_, err := read("env_file = \"" + path + "\"\n" + minimal)
	want := fmt.Sprintf("shop.toml:1:1: env_file %s: it has more than 1048576 bytes, the limit", path)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestACommentAfterAValueIsRemarkedUpon(t *testing.T) {
	for text, lines := range map[string][]int{
		"A=1 # CANARY\nB=2\n":              {1},
		"A=1\nB=\"x\" # CANARY\n":          {2},
		"A=1\t#CANARY # CANARY\n":          {1},
		"A=#fff\nB=a#b\nC=\"a # b\"\n":     nil,
		"# CANARY\nA='# b'\nB= #fff\nC=\n": nil,
	} {
		file, bad := readEnv("env", []byte(text))
		var got []int
		for _, e := range file.remarks {
			got = append(got, e.Line)
			if strings.Contains(e.Error(), "CANARY") {
				t.Errorf("%q: %v shows a value", text, e)
			}
		}
		if bad != nil || !slices.Equal(got, lines) {
			t.Errorf("%q: %v, %v", text, got, bad)
		}
	}
}
