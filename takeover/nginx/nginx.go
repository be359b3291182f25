package nginx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"superctl/daemon/systemd"
	"superctl/proc"
	"superctl/takeover/system"
)

// Nginx is the nginx of this machine.
type Nginx struct {
	Files []*File
	unit  string // nginx.service; "" = something else started it
	pid   int    // of the master
}

// unit is the name of nginx's unit in the packages of nginx and of all distributions.
const unit = "nginx.service"

var fileMark = regexp.MustCompile(`(?m)^# configuration file (/.+):$`)

// Find finds the running nginx, and the files of its configuration, which must be valid.
func Find(ctx context.Context) (*Nginx, error) {
	text, _, err := system.Output(ctx, "nginx", "-T")
	if err != nil {
		return nil, err
	}
	n := &Nginx{}
	for _, m := range fileMark.FindAllStringSubmatch(text, -1) {
		path, err := filepath.EvalSymlinks(m[1])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(n.Files, func(f *File) bool { return f.Path == path }) {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		n.Files = append(n.Files, &File{Path: path, Old: string(data), New: string(data)})
	}
	return n, n.findMaster(ctx)
}

// findMaster finds nginx's master process.
func (n *Nginx) findMaster(ctx context.Context) error {
	service, err := systemd.FindService(ctx, unit)
	if err != nil {
		return err
	}
	if service != nil && service.MainPID() != 0 {
		n.unit, n.pid = unit, service.MainPID()
		return nil
	}
	path, err := n.pidFile(ctx)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err == nil {
		n.pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	if err != nil {
		return fmt.Errorf("nginx does not run: %w", err)
	}
	if _, err := proc.ReadStat(n.pid); err != nil {
		return fmt.Errorf("nginx does not run: process %d of %s: %w", n.pid, path, err)
	}
	return nil
}

var builtPIDFile = regexp.MustCompile(`--pid-path=(\S+)`)

// pidFile returns the path of nginx's PID file: that of the configuration, else the built-in one.
func (n *Nginx) pidFile(ctx context.Context) (string, error) {
	for _, f := range n.Files {
		list, err := parse(f.Old)
		if err != nil {
			continue // Edit says it
		}
		for _, d := range list {
			if d.name() == "pid" && d.in == nil && filepath.IsAbs(d.argument()) {
				return d.argument(), nil
			}
		}
	}
	_, built, err := system.Output(ctx, "nginx", "-V")
	if err != nil {
		return "", err
	}
	if m := builtPIDFile.FindStringSubmatch(built); m != nil {
		return m[1], nil
	}
	return "", errors.New("nginx -V names no PID file")
}

// ReloadCommand is the command that has nginx load its configuration.
func (n *Nginx) ReloadCommand() []string {
	if n.unit != "" {
		return []string{"systemctl", "reload", strings.TrimSuffix(n.unit, ".service")}
	}
	return []string{"nginx", "-s", "reload"}
}

// Test checks the configuration.
func (n *Nginx) Test(ctx context.Context) error { return system.Run(ctx, "nginx", "-t", "-q") }

// Reload has nginx load its configuration, and waits until its workers of before get no new
// connections. It returns those workers, which finish their requests.
func (n *Nginx) Reload(ctx context.Context) ([]Worker, error) {
	before, err := n.workers()
	if err != nil {
		return nil, err
	}
	if err := system.Run(ctx, n.ReloadCommand()...); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reloadTime,
		errors.New("nginx did not load its configuration: see its error log"))
	defer cancel()
	return before, await(ctx, func() bool { return !slices.ContainsFunc(before, Worker.serves) })
}
