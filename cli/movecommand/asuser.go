//go:build linux

package movecommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/supervisor/worker"
)

// run runs one of superctl's own commands as a user, and reads its outcome.
func (b *releaseBuild) run(ctx context.Context, by *config.User, args []string, outcome any) error {
	step := args[0]
	if step != "build" {
		step = "install"
	}
	b.show.Event(api.Event{Type: "begin", Step: step})
	began := time.Now()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	env := b.environment(by)
	out, said, err := output(ctx, worker.Command{
		Args: slices.Concat([]string{self}, args, []string{"--json"}), Env: env, Dir: "/", User: by.Become(),
	})
	var failed struct{ Error string }
	if err != nil {
		b.show.Event(api.Event{Type: "fail", Step: step, Seconds: time.Since(began).Seconds()})
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if json.Unmarshal(out, &failed) == nil && failed.Error != "" {
			return errors.New(failed.Error)
		}
		return fmt.Errorf("%w%s", err, said)
	}
	return json.Unmarshal(out, outcome)
}

// output runs a command, and returns what it writes to stdout and to stderr.
func output(ctx context.Context, c worker.Command) (out []byte, said string, err error) {
	file, err := os.CreateTemp("", "superctl-")
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return nil, "", err
	}
	c.Stdout = file
	err = worker.Run(ctx, c, func(line string) { said += "\n" + line })
	if _, seek := file.Seek(0, io.SeekStart); seek != nil {
		return nil, said, errors.Join(err, seek)
	}
	out, read := io.ReadAll(file)
	return out, said, errors.Join(err, read)
}

// environment returns the environment of a command of a user: what says where packages come from, and
// nothing else of root's.
func (b *releaseBuild) environment(by *config.User) []string {
	env := []string{"HOME=" + by.Home, "USER=" + by.Name, "LOGNAME=" + by.Name, "LANG=C.UTF-8"}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if by.Credential.UID != 0 {
		search += ":" + filepath.Join(by.Home, ".local", "bin") // where uv is
		if b.site.Python.Bin != "" {
			search += ":" + b.site.Python.Bin
		}
	}
	env = append(env, "PATH="+search)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		upper := strings.ToUpper(name)
		if strings.HasSuffix(upper, "_PROXY") || strings.HasPrefix(name, "PIP_") || strings.HasPrefix(name, "UV_") ||
			slices.Contains([]string{"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TZ"}, name) {
			env = append(env, v)
		}
	}
	if b.site.Collect != nil {
		for _, v := range b.site.Collect.Env {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	if b.dir != nil && b.machine.Owner(by.Home) != by.Name { // it has no ~/.cache
		env = append(env, "SUPERCTL_CACHE="+filepath.Join(b.dir.Name(), "cache"))
	}
	// git reads no repository of another user, unless it is told to: one of root's is trusted.
	return append(env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0="+b.site.Checkout)
}
