package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
	"superctl/load"
)

// podman is a Podman with a storage of its own, whose images are shop:r1 of packaging/container.
type podman struct {
	t       *testing.T
	dir     string // of the storage, and of the bundles
	address string // of the site
}

// newPodman builds the image from a Debian root, because no registry of images can be reached in a
// test. All else is as a user has it: the Containerfile, its config (but for the address), and the
// program.
func newPodman(t *testing.T) *podman {
	t.Helper()
	root := freshRoot(t, "bookworm", "docs/first-site.md")
	p := &podman{t: t, dir: machineDir(t), address: systemd.FreeAddress(t)}
	t.Cleanup(func() {
		p.run("rm", "--force", "--all", "--time", "0")
		p.run("rmi", "--force", "--all")
	})
	project := p.project(root)
	must(t, os.Mkdir(filepath.Join(p.dir, "bundles"), 0o755))
	p.bundle(root, project, "r2")
	p.shell(`tar -C "$1" --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man -c . |
		podman --root "$2" --runroot "$3" import --quiet - localhost/base`, root, p.path("storage"), p.path("runroot"))
	p.podman(append([]string{
		"build", "--quiet", "--pull=never", "--layers=false", "--network=none", "--build-arg",
		"BASE=localhost/base", "--tag", "shop:r1",
	}, append(limits(), project)...)...)
	return p
}

// limits keeps Podman from raising limits, for which the root of a sandbox may lack the capability.
func limits() []string { return []string{"--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"} }

// project makes the directory that the image is built from: the test project without Django, which
// takes long to install.
func (p *podman) project(root string) string {
	p.t.Helper()
	dir, from := p.path("project"), filepath.Join(top(p.t), "packaging", "container")
	must(p.t, os.Mkdir(dir, 0o755))
	must(p.t, apps.Project(dir))
	must(p.t, os.Rename(filepath.Join(dir, "bare"), filepath.Join(dir, "shop", "bare")))
	config, err := os.ReadFile(filepath.Join(from, "shop.toml"))
	must(p.t, err)
	file, err := os.ReadFile(filepath.Join(from, "Containerfile"))
	must(p.t, err)
	program, err := os.ReadFile(run.Binary)
	must(p.t, err)
	for name, content := range map[string][]byte{
		"requirements.txt": []byte(p.pin(root, "gunicorn") + p.pin(root, "packaging")),
		"shop/wsgi.py": []byte("import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n" +
			"from bare.wsgi import application\n"),
		"Containerfile": file, "superctl": program,
		"shop.toml":     bytes.Replace(config, []byte("0.0.0.0:8000"), []byte(p.address), 1),
		"superctl.toml": []byte("[build]\nfiles = [\"shop\", \"manage.py\", \"requirements.txt\"]\nlock = \"requirements.txt\"\n"),
	} {
		must(p.t, os.WriteFile(filepath.Join(dir, name), content, 0o755))
	}
	return dir
}

// pin returns the line of a package in requirements.txt, for the wheel in the root.
func (p *podman) pin(root, name string) string {
	p.t.Helper()
	wheels, err := filepath.Glob(filepath.Join(root, "opt", "wheels", name+"-*.whl"))
	must(p.t, err)
	if len(wheels) != 1 {
		p.t.Fatalf("wheels of %s: %v", name, wheels)
	}
	return name + "==" + strings.Split(filepath.Base(wheels[0]), "-")[1] + "\n"
}

// bundle builds a release for the volume, with the wheels and for the Python of the root.
func (p *podman) bundle(root, project, version string) {
	p.t.Helper()
	cmd := exec.Command(run.Binary, "build", "--name", "shop", "--version", version, "--python", "/usr/bin/python3",
		"--output", p.path("bundles"), project)
	cmd.Env = append(os.Environ(), "PIP_NO_INDEX=1", "PIP_FIND_LINKS="+filepath.Join(root, "opt", "wheels"))
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("superctl build: %v\n%s", err, out)
	}
}

func (p *podman) path(name string) string { return filepath.Join(p.dir, name) }

func (p *podman) shell(script string, args ...string) {
	p.t.Helper()
	cmd := exec.Command("bash", append([]string{"-euo", "pipefail", "-c", script, "bash"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// run runs a command of podman, and returns its output and its exit code. The output is a file, because
// the monitor of a container that runs on keeps it open.
func (p *podman) run(args ...string) (out string, code int) {
	p.t.Helper()
	cmd := exec.Command("podman", append([]string{
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--root",
		p.path("storage"), "--runroot", p.path("runroot"), "--tmpdir", p.path("libpod"),
	}, args...)...)
	file, err := os.CreateTemp(p.dir, "output")
	must(p.t, err)
	defer func() { must(p.t, errors.Join(file.Close(), os.Remove(file.Name()))) }()
	cmd.Stdout, cmd.Stderr = file, file
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	must(p.t, err)
	return strings.TrimSpace(string(text)), cmd.ProcessState.ExitCode()
}

// podman runs a command of podman, which must succeed.
func (p *podman) podman(args ...string) string {
	p.t.Helper()
	out, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("podman %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// hardened are the options of docs/containers.md: a user other than root without any privilege, and
// a root file system that cannot be written.
func hardened(name string) []string {
	return append([]string{
		"--name", name, "--network=host", "--read-only", "--cap-drop=all",
		"--security-opt=no-new-privileges",
	}, limits()...)
}

// start starts a container, and waits until its site answers.
func (p *podman) start(name string, options ...string) {
	p.t.Helper()
	args := append([]string{"run", "--detach"}, hardened(name)...)
	p.podman(append(append(args, options...), "shop:r1")...)
	p.eventually(name, "the site answers", func() bool { return p.get("/") != "" })
}

// eventually waits for a condition, and shows the log of the container if it does not come.
func (p *podman) eventually(name, what string, ok func() bool) {
	p.t.Helper()
	harness.Eventually(p.t, what, ok, func() string { return p.podman("logs", name) })
}

// get returns the answer of the site, or "".
func (p *podman) get(path string) string {
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + p.address + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// containerStatus is a part of `superctl status --json`.
type containerStatus struct {
	Generations []struct {
		Workers []struct{ PID int }
	}
	Listeners []struct{ Gate string }
	Troubles  []struct{ Why string }
}

func (p *podman) status(name string) (st containerStatus) {
	p.t.Helper()
	must(p.t, json.Unmarshal([]byte(p.podman("exec", name, "superctl", "status", "--json")), &st))
	return st
}

func TestAContainer(t *testing.T) {
	p := newPodman(t)
	onVolume := []string{
		"--volume", "shop:/srv/shop", "--env", "STATE_DIRECTORY=/srv/shop/state",
		"--volume", p.path("bundles") + ":/bundles:ro",
	}
	at := func(t *testing.T) *podman { q := *p; q.t = t; return &q }
	t.Run("switches releases on its volume and loses no request", func(t *testing.T) {
		at(t).switches("volume", onVolume)
	})
	t.Run("reaps orphans and mends a killed worker", func(t *testing.T) { at(t).mends("volume") })
	t.Run("finishes its requests at a stop and exits with 0", func(t *testing.T) { at(t).stops("volume") })
	t.Run("starts with the release that was live", func(t *testing.T) {
		at(t).podman("start", "volume")
		at(t).eventually("volume", "r2 answers", func() bool { return strings.Contains(p.get("/"), `"r2"`) })
		at(t).podman("stop", "volume")
	})
	t.Run("serves where the sandbox refuses to steer connections", func(t *testing.T) { at(t).isUnsteered("unsteered") })
	t.Run("says why it cannot start", func(t *testing.T) { at(t).isRefused() })
}

func (p *podman) switches(name string, options []string) {
	p.start(name, options...)
	requests, err := load.Start(load.Config{
		Network: "tcp", Address: p.address, Rate: 100, Clients: 8,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	must(p.t, err)
	p.t.Cleanup(func() { requests.Stop() })
	more := func() {
		ctx, cancel := harness.Limited(context.Background())
		defer cancel()
		must(p.t, requests.WaitMore(ctx, 50))
	}
	more()
	p.podman("exec", name, "superctl", "install", "/bundles/shop-r2.tar.zst")
	p.podman("exec", name, "superctl", "switch", "r2")
	more()
	p.podman("exec", name, "superctl", "rollback")
	more()
	p.podman("exec", name, "superctl", "switch", "r2")
	p.podman("kill", "--signal", "HUP", name)
	p.eventually(name, "a reload after SIGHUP", func() bool {
		return strings.Contains(p.podman("exec", name, "superctl", "history"), "SIGHUP")
	})
	more()
	if res := requests.Stop(); len(res.Failed()) > 0 {
		p.t.Errorf("lost requests: %v\n%s", res, p.podman("logs", name))
	}
	if out, code := p.run("exec", name, "superctl", "upgrade"); code != 1 || !strings.Contains(out, "with the image") {
		p.t.Errorf("upgrade: exit code %d\n%s", code, out)
	}
	if st := p.status(name); st.Listeners[0].Gate != "steer" || len(st.Troubles) > 0 {
		p.t.Errorf("status: %+v", st)
	}
	if log := p.podman("logs", name); strings.Contains(log, " warn ") || strings.Contains(log, " error ") {
		p.t.Errorf("a healthy container warns:\n%s", log)
	}
}

func (p *podman) mends(name string) {
	// Its parent, the shell, ends first: process 1 must wait for it.
	orphan := p.podman("exec", name, "sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!")
	p.eventually(name, "an orphan is reaped", func() bool {
		_, code := p.run("exec", name, "test", "-e", "/proc/"+orphan)
		return code != 0
	})
	main := func() int {
		if st := p.status(name); len(st.Generations) > 0 && len(st.Generations[0].Workers) > 0 {
			return st.Generations[0].Workers[0].PID
		}
		return 0
	}
	was := main()
	p.podman("exec", name, "python3", "-c", "import os; os.kill("+strconv.Itoa(was)+", 9)")
	p.eventually(name, "another worker", func() bool { now := main(); return now != 0 && now != was })
	p.eventually(name, "the site answers again", func() bool { return p.get("/") != "" })
}

func (p *podman) stops(name string) {
	const until = "/srv/shop/go-on"
	answer := make(chan string, 1)
	go func() { answer <- p.get("/slow?s=0&until=" + until) }()
	p.eventually(name, "a request is in flight", func() bool {
		return strings.Contains(p.podman("exec", name, "superctl", "status"), "1 connection")
	})
	p.podman("kill", "--signal", "TERM", name)
	p.eventually(name, "the stop has begun", func() bool {
		return strings.Contains(p.podman("logs", name), "stopping: the workers finish their requests")
	})
	p.podman("exec", name, "touch", until)
	if code := p.podman("wait", name); code != "0" {
		p.t.Errorf("exit code %s\n%s", code, p.podman("logs", name))
	}
	if got := <-answer; !strings.Contains(got, `"release": "r2"`) {
		p.t.Errorf("the request in flight was answered with %q", got)
	}
}

// refusing writes a seccomp profile that refuses some system calls.
func (p *podman) refusing(name, calls string) (option string) {
	p.t.Helper()
	path := p.path(name + ".json")
	must(p.t, os.WriteFile(path, []byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [`+calls+`]}`), 0o644))
	return "--security-opt=seccomp=" + path
}

func (p *podman) isUnsteered(name string) {
	const soAttachReuseportCBPF = 51
	p.start(name, p.refusing(name, fmt.Sprintf(`{"names": ["setsockopt"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
		"args": [{"index": 2, "value": %d, "op": "SCMP_CMP_EQ"}]}`, soAttachReuseportCBPF)))
	st := p.status(name)
	if st.Listeners[0].Gate != "shared" || len(st.Troubles) != 1 ||
		!strings.Contains(st.Troubles[0].Why, "the kernel cannot steer") {
		p.t.Errorf("status: %+v", st)
	}
	p.podman("stop", name)
}

func (p *podman) isRefused() {
	for _, c := range []struct{ name, option, says string }{
		{
			"signals", p.refusing("signals", `{"names": ["pidfd_open"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}`),
			"allow both in the seccomp profile",
		},
		{
			"stateless", "--env=STATE_DIRECTORY=/srv/shop/state",
			"set state in the config, or $STATE_DIRECTORY, to a directory that user 1000 can write",
		},
		{
			"closed", "--env=RUNTIME_DIRECTORY=/srv/shop/run",
			"set control in the config, or $RUNTIME_DIRECTORY, to a directory that user 1000 can write",
		},
	} {
		out, code := p.run(append(append([]string{"run"}, hardened(c.name)...), c.option, "shop:r1")...)
		if code != 1 || !strings.Contains(out, c.says) {
			p.t.Errorf("%s: exit code %d\n%s", c.name, code, out)
		}
	}
}
