package packaging

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/systemd"
	"superctl/load"
)

// packages builds packages of these versions as `make deb` does, each into its own subdirectory, and
// returns the directory. The format is deb or rpm.
func packages(t *testing.T, format string, versions ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, makePackages(format, dir, versions...))
	return dir
}

func makePackages(format, dir string, versions ...string) error {
	for _, v := range versions {
		if out, err := exec.Command("make", "-C", filepath.Join("..", ".."), "deb", "VERSION="+v, "FORMAT="+format,
			"DEBS="+filepath.Join(dir, v)).CombinedOutput(); err != nil {
			return fmt.Errorf("make deb: %w\n%s", err, out)
		}
	}
	return nil
}

// A machine of Fedora cannot be made here: rpm installs into one of Debian, without what the package
// depends on.
func TestAPackageUpgradeReplacesTheDaemonAndLosesNoRequest(t *testing.T) {
	for format, commands := range map[string]struct{ install, remove string }{
		"deb": {"dpkg --install --force-depends", "dpkg --remove"},
		"rpm": {"rpm --upgrade --nodeps", "rpm --erase"},
	} {
		t.Run(format, func(t *testing.T) { upgradePackage(t, format, commands.install, commands.remove) })
	}
}

func upgradePackage(t *testing.T, format, installCommand, removeCommand string) {
	m := bareMachine(t, []string{"1"}, systemd.Bind{From: packages(t, format, "0.1", "0.2"), To: "/root/packages"})
	install := func(version string) systemd.Result {
		return m.Run("sh", "-c", installCommand+" /root/packages/"+version+"/superctl[-_]*."+format).Want(0)
	}
	install("0.1")
	m.Run("useradd", "--system", "--home-dir", "/srv/shop", "--create-home", "shop").Want(0)
	m.Run("mkdir", "/srv/shop/releases").Want(0)
	m.Run("cp", "/root/deploy/shop.toml", "/etc/superctl/").Want(0)
	m.Run("systemctl", "enable", "--now", unit).Want(0)
	m.Run("superctl", "deploy", "/root/deploy/shop-1.tar.zst").Want(0)
	property := func(name string) string {
		return m.Run("systemctl", "show", "--property="+name, "--value", unit).Want(0).Stdout
	}
	daemon := property("MainPID")
	requests, err := load.Start(load.Config{
		Network: "tcp", Address: m.address, Rate: 50, Clients: 4,
		Shapes: []load.Shape{load.Get("/")},
	})
	must(t, err)
	defer requests.Stop()
	install("0.2")
	must(t, requests.WaitMore(t.Context(), 30))
	if res := requests.Stop(); len(res.Failed()) > 0 {
		t.Errorf("requests were lost: %s", res)
	}
	if property("MainPID") == daemon || strings.TrimSpace(property("NRestarts")) != "0" {
		t.Errorf("the daemon was pid %s, and is %s after %s restarts", daemon, property("MainPID"),
			property("NRestarts"))
	}
	m.Run("sh", "-c", removeCommand+" superctl").Want(0).Says("stopping " + unit)
	if r := m.Run("sh", "-c", "pgrep -u shop; ls /usr/bin/superctl"); r.Stdout != "" {
		t.Errorf("is left: %s", r.Text())
	}
	m.Run("test", "-e", "/etc/superctl/shop.toml", "-a", "-d", "/srv/shop/releases/1").Want(0)
	install("0.2") // it starts the unit that the removal stopped
	m.Run("sh", "-c", "timeout 60 sh -c 'until superctl --app shop status --exit-code; do sleep 0.2; done'").Want(0)
}
