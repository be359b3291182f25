package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Character classes of systemd's parser (src/basic/env-file.c).
const (
	envNewline  = "\n\r"
	envBlank    = " \t\n\r"
	envComment  = "#;"
	envUnquoted = "\"\\`$" // the characters that a backslash escapes inside double quotes
	exportWord  = "export" // with a blank after it
)

// envState is the state of the parser.
type envState int

const (
	beforeName envState = iota
	inName
	beforeEnvValue // also after a closing quote: what follows belongs to the same value
	inValue
	valueEscape
	singleQuote
	doubleQuote
	doubleQuoteEscape
	inComment
	commentEscape
)

// envParser parses an env_file by the rules of systemd's EnvironmentFile= (systemd.exec(5)), byte
// by byte and state by state as systemd 254 does. Its messages name a file and a line, but never
// contain any content.
//
// No library reads these files as systemd does. Of the 24 of TestAnEnvFileIsParsedAsBySystemd,
// subosito/gotenv v1.6.0 reads 8 differently, joho/godotenv v1.5.1 and compose-spec/compose-go/v2
// v2.16.2 10, hashicorp/go-envparse v0.1.0 14. All of them cut "A=1 # no comment" at the #, and none
// knows lines joined by a backslash and comments that begin with a semicolon.
type envParser struct {
	path  string
	state envState
	line  int // of the current byte

	name, value []byte
	valueEnd    int // length of value without trailing blanks
	began       int // line of the name
	quoted      int // line of the last quote

	vars    map[string]string
	ignored []*Error
	remarks []*Error // what is in a value and may be meant as a comment
}

// parseEnvFile returns the variables of an env_file, and what it ignored. systemd ignores the same,
// so that a file means the same to both. A NUL byte is an error, as in systemd.
func parseEnvFile(path string, data []byte) (vars map[string]string, ignored []*Error, bad *Error) {
	p, bad := readEnv(path, data)
	return p.vars, p.ignored, bad
}

// readEnv parses an env_file.
func readEnv(path string, data []byte) (envParser, *Error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		return envParser{}, &Error{path, line, 1, "there is a NUL byte, which no variable can have"}
	}
	p := envParser{path: path, line: 1, vars: make(map[string]string)}
	// Skip a byte order mark, which editors on Windows write; it is not part of the first name.
	for _, c := range bytes.TrimPrefix(data, []byte("\ufeff")) {
		p.next(c)
		if c == '\n' {
			p.line++
		}
	}
	p.end()
	return p, nil
}

// ParseEnvFile returns the variables of an env_file by name, and a message for each line that is
// ignored. The messages contain nothing of the file's content.
func ParseEnvFile(path string, data []byte) (vars map[string]string, ignored []*Error, err error) {
	vars, ignored, bad := parseEnvFile(path, data)
	if bad != nil {
		return nil, nil, bad
	}
	return vars, ignored, nil
}

// ReadEnvFile returns the variables of an env_file as NAME=VALUE.
func ReadEnvFile(path string) (env []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	vars, _, err := ParseEnvFile(path, data)
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	return env, err
}

// next processes one byte.
func (p *envParser) next(c byte) {
	switch p.state {
	case beforeName, inName:
		p.nameByte(c)
	case beforeEnvValue, inValue, valueEscape:
		p.valueByte(c)
	case singleQuote:
		if c == '\'' {
			p.state = beforeEnvValue
		} else {
			p.keep(c)
		}
	case doubleQuote, doubleQuoteEscape:
		p.doubleQuoteByte(c)
	case inComment, commentEscape:
		p.commentByte(c)
	}
}

func (p *envParser) nameByte(c byte) {
	switch {
	case p.state == beforeName && is(c, envComment):
		p.state = inComment
	case p.state == beforeName && is(c, envBlank):
	case p.state == beforeName:
		p.state, p.name, p.began = inName, []byte{c}, p.line
		p.value, p.valueEnd = nil, 0
	case is(c, envNewline):
		p.ignore("there is no = in the line")
		p.state = beforeName
	case c == '=':
		p.state = beforeEnvValue
	default:
		p.name = append(p.name, c)
	}
}

func (p *envParser) valueByte(c byte) {
	switch {
	case p.state == valueEscape:
		p.state = inValue
		if !is(c, envNewline) { // an escaped newline joins two lines
			p.keep(c)
		}
	case is(c, envNewline):
		p.push()
		p.state = beforeName
	case c == '\\':
		p.state = valueEscape
		p.valueEnd = len(p.value)
	case p.state == beforeEnvValue && (c == '\'' || c == '"'):
		p.quoted = p.line
		p.state = map[byte]envState{'\'': singleQuote, '"': doubleQuote}[c]
	case p.state == beforeEnvValue && is(c, envBlank):
	case is(c, envBlank):
		p.value = append(p.value, c) // valueEnd stays: blanks at the end of a line are dropped
	default:
		if c == '#' {
			p.remarkComment()
		}
		p.state = inValue
		p.keep(c)
	}
}

// remarkComment notes a # after a blank or a quote: other readers of such files begin a comment there.
func (p *envParser) remarkComment() {
	inside := len(p.value) == p.valueEnd && (p.state != beforeEnvValue || p.valueEnd == 0)
	if n := len(p.remarks); inside || n > 0 && p.remarks[n-1].Line == p.line {
		return
	}
	p.remarks = append(p.remarks,
		&Error{p.path, p.line, 1, "the # and what follows it belong to the value: a comment needs a line of its own"})
}

func (p *envParser) doubleQuoteByte(c byte) {
	switch {
	case p.state == doubleQuoteEscape:
		p.state = doubleQuote
		switch {
		case is(c, envUnquoted):
			p.keep(c)
		case c != '\n':
			p.keep('\\')
			p.keep(c)
		}
	case c == '"':
		p.state = beforeEnvValue
	case c == '\\':
		p.state = doubleQuoteEscape
	default:
		p.keep(c)
	}
}

func (p *envParser) commentByte(c byte) {
	switch {
	case is(c, envNewline):
		p.state = beforeName
	case p.state == commentEscape:
		p.state = inComment
	case c == '\\':
		p.state = commentEscape
	}
}

// keep appends a byte to the value, and with it the blanks before it.
func (p *envParser) keep(c byte) {
	p.value = append(p.value, c)
	p.valueEnd = len(p.value)
}

// end processes the end of the file, which also ends a value or an open quote.
func (p *envParser) end() {
	switch p.state {
	case beforeName, inComment, commentEscape:
	case inName:
		p.ignore("there is no = in the line")
	case singleQuote, doubleQuote, doubleQuoteEscape:
		p.push()
		p.ignored = append(p.ignored,
			&Error{p.path, p.quoted, 1, "the quote is not closed: the rest of the file is in the value"})
	case beforeEnvValue, inValue, valueEscape:
		p.push()
	}
}

// push stores a name and its value.
func (p *envParser) push() {
	name := strings.TrimRight(string(p.name), envBlank)
	// unlike systemd, to accept files made for a shell
	if rest, exported := strings.CutPrefix(name, exportWord); exported && strings.TrimLeft(rest, " \t") != rest {
		name = strings.TrimLeft(rest, " \t")
	}
	switch {
	case !envName.MatchString(name):
		p.ignore("the name before = is not valid: use letters, digits and _, and no digit first")
	case reserved(name):
		p.ignore("the name is one that superctl sets itself, such as SUPERCTL_APP, LISTEN_FDS and NOTIFY_SOCKET")
	default:
		p.vars[name] = string(p.value[:p.valueEnd])
	}
}

// ignore records why a variable is not set. It does not even quote the name, which may be a line of
// a value without quotes.
func (p *envParser) ignore(why string) {
	p.ignored = append(p.ignored, &Error{p.path, p.began, 1, fmt.Sprintf("ignored: %s", why)})
}

func is(c byte, class string) bool { return strings.IndexByte(class, c) >= 0 }
