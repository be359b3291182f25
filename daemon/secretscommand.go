package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/config"
	"superctl/redact"
	"superctl/releases"
	"superctl/supervisor/worker"
)

const (
	// secretsLimit is the most that secrets.command may print, in bytes, as an env_file may have.
	secretsLimit = 1 << 20
	// Of what a failed command writes to stderr, an error quotes the last lines.
	secretsErrorLines = 3
	secretsErrorChars = 200
	// secretsEndTime is how long the output is read after the end of the command.
	secretsEndTime = 2 * time.Second
)

var errSecretsLimit = fmt.Errorf("it printed more than %d bytes, the limit", secretsLimit)

// runSecrets runs secrets.command as the user of this process, and returns the variables that it
// prints. Its errors contain no value. dir is the directory with the unit's credentials, or "", and
// old are the values that the command has printed before.
func runSecrets(ctx context.Context, c *config.Config, dir string, old map[string]string) (map[string]string, error) {
	limit := c.Secrets.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished within %s", limit))
	defer cancel()
	env := environment(c, releases.Release{}, nil, dir, nil)
	tail := worker.NewTail(secretsErrorLines)
	out, err := printed(ctx, worker.Command{
		Args: c.Secrets.Command, Env: append(env.List(), "SUPERCTL_APP="+c.App), Secrets: env.Secrets(), Dir: "/",
	}, func(line string) { tail.Add([]byte(line)) })
	if err != nil {
		return nil, secretsError(c, env, out, old, err, tail.Lines())
	}
	vars, ignored, err := config.ParseEnvFile("its output", out)
	switch {
	case err != nil:
	case len(ignored) > 0:
		err = errors.New(strings.Replace(ignored[0].Error(), ": ignored: ", ": ", 1))
	case len(vars) == 0:
		err = errors.New("it printed no variable: it must print lines NAME=VALUE, as in an env_file")
	default:
		err = tooLong(vars)
	}
	if err != nil {
		return nil, secretsError(c, env, out, old, err, nil)
	}
	return vars, nil
}

// tooLong returns an error if a value is longer than a variable can be.
func tooLong(vars map[string]string) error {
	for name, value := range vars {
		if _, err := worker.SecretValue(name, []byte(value+secretEnd)); err != nil {
			return err
		}
	}
	return nil
}

// printed runs a command and returns what it writes to stdout, which is never in a file. line gets
// each line that it writes to stderr.
func printed(ctx context.Context, cmd worker.Command, line func(string)) (out []byte, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	writer := os.NewFile(uintptr(pipe[1]), "pipe")
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(pipe[0]), writer.Close())
	}
	reader := os.NewFile(uintptr(pipe[0]), "pipe")
	defer reader.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var read bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		n, err := io.Copy(&read, io.LimitReader(reader, secretsLimit+1))
		if n > secretsLimit {
			err = errSecretsLimit
			cancel(err)
		}
		ended <- err
	}()
	cmd.Stdout = writer
	err = worker.Run(ctx, cmd, line)
	// A process that has escaped from the command may keep the pipe open.
	late := errors.Join(writer.Close(), reader.SetReadDeadline(time.Now().Add(secretsEndTime)))
	if failed := <-ended; err == nil && !errors.Is(failed, os.ErrDeadlineExceeded) {
		err = failed
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return read.Bytes(), errors.Join(err, late)
}

// secretsError returns the error of a failed command. It quotes what the command wrote to stderr,
// without the values that it may have printed or was given.
func secretsError(
	c *config.Config, env Environ, out []byte, old map[string]string, err error, lines []string,
) error {
	var known redact.Secrets
	for _, v := range env {
		if v.From != fromSuperctl && v.From != fromRelease {
			known.Variable(v.Name, v.Value)
		}
	}
	for name, path := range env.Secrets() {
		if value, err := worker.ReadSecret(path); err == nil {
			known.Secret(value)
			known.Variable(name, value)
		}
	}
	vars, _, _ := config.ParseEnvFile("", out) // as much of it as can be parsed
	for _, value := range vars {
		known.Secret(value)
	}
	for line := range strings.Lines(string(out)) { // a value without a name, for example
		known.Secret(strings.TrimSpace(line))
	}
	for name, value := range old {
		known.Secret(value)
		known.Variable(name, value)
	}
	redactor := known.Redactor()
	text := fmt.Sprintf("%s: secrets.command %s: %v", c.Path, c.Secrets.Command[0], err)
	var said []string
	for _, line := range lines {
		clean := []rune(redactor.Text(line))
		said = append(said, string(clean[:min(len(clean), secretsErrorChars)]))
	}
	if len(said) > 0 {
		text += ": " + strings.Join(said, " | ")
	}
	return errors.New(text)
}
