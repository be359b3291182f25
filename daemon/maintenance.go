package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"superctl/api"
	"superctl/maintenance"
	"superctl/supervisor"
	"superctl/supervisor/health"
)

// pageName is the name of the maintenance page in the state directory, where it outlives a restart of
// the machine. Workers of another user cannot read it there.
const pageName = "maintenance.html"

// Limits of the server of a maintenance page. It starts in milliseconds; its connections end in less
// than its drain limit.
const (
	pageStart = 30 * time.Second
	pageDrain = 15 * time.Second
	pageCheck = 5 * time.Second
)

// maintenancePage implements the supervisor's Page.
func (d *daemon) maintenancePage(on api.MaintenanceStatus, body []byte) (supervisor.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return supervisor.Process{}, fmt.Errorf("find the program of the maintenance page: %w", err)
	}
	self = strings.TrimSuffix(self, " (deleted)") // an update of the package has replaced it
	path, err := d.keepPage(on, body)
	if err != nil {
		return supervisor.Process{}, err
	}
	return supervisor.Process{
		Command: append([]string{self}, maintenance.Command(on.RetryAfter, path)...), Dir: "/",
		User: d.config.User.Become(), StopSignal: int(syscall.SIGTERM), Drain: pageDrain, StartTimeout: pageStart,
		Health: &health.Policy{
			Check:    health.Check{Protocol: "http", Path: "/", Status: []int{503}, Timeout: pageCheck},
			Interval: time.Second, HealthyAfter: 2,
		},
	}, nil
}

// keepPage writes the page to the state directory, and next to the control socket, where the worker
// can read it. It returns that path; "" is superctl's own page. A page that was kept and is lost is
// superctl's own, too: users must get an answer.
func (d *daemon) keepPage(on api.MaintenanceStatus, body []byte) (string, error) {
	kept := filepath.Join(d.config.State, pageName)
	if on.Page == "" {
		return "", nil
	}
	if body != nil {
		if err := supervisor.ReplaceFile(kept, body); err != nil {
			return "", fmt.Errorf("keep the maintenance page: %w", err)
		}
	}
	body, err := os.ReadFile(kept)
	if errors.Is(err, fs.ErrNotExist) {
		d.log.Error("the maintenance page is lost, and the default page is shown", zap.Error(err))
		return "", nil
	}
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(d.config.Control)
	path := filepath.Join(dir, d.config.App+".maintenance-"+on.Page[:8]+".html")
	old, err := filepath.Glob(filepath.Join(dir, d.config.App+".maintenance-*.html"))
	for _, name := range old {
		if name != path {
			err = errors.Join(err, os.Remove(name))
		}
	}
	if err != nil {
		d.log.Warn("remove an earlier maintenance page", zap.Error(err))
	}
	if err := renameio.WriteFile(
		path, body, 0o644, renameio.WithStaticPermissions(0o644), renameio.WithTempDir(dir),
	); err != nil {
		return "", fmt.Errorf("write the maintenance page: %w", err)
	}
	return path, nil
}
