package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// controller runs Ansible as the operator, with the collection as `make dist` builds it.
type controller struct {
	t   *testing.T
	f   *Fleet
	bin string
	dir string // of playbooks and of the inventory
	env []string
}

func newController(t *testing.T) *controller {
	t.Helper()
	f := clean(t)
	tools, err := ansible()
	must(t, err)
	c := &controller{t: t, f: f, bin: tools.bin, dir: filepath.Join(f.Dir, "ansible")}
	must(t, os.RemoveAll(c.dir))
	must(t, os.Mkdir(c.dir, 0o755))
	c.env = []string{
		"env", "LC_ALL=C.UTF-8", "USER=anna", "HOME=" + c.dir, "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1",
		"ANSIBLE_RETRY_FILES_ENABLED=0", "ANSIBLE_COLLECTIONS_PATH=" + tools.collections,
		"ANSIBLE_SSH_ARGS=-o ControlMaster=auto -o ControlPersist=60s -o ControlPath=" + c.dir + "/%n -o ConnectTimeout=5 " +
			"-o ServerAliveInterval=2 -o ServerAliveCountMax=2",
	}
	// Two of the hosts, because a task takes a second of the processor on each.
	c.write("production", "[web]\nweb1\nweb2\n[web:vars]\nansible_python_interpreter=/usr/bin/python3\n")
	return c
}

// ansibleTools are the directories of Ansible's programs, and of its collections.
type ansibleTools struct{ bin, collections string }

// installAnsible installs Ansible as scripts/deps does, and the collection as `make dist` builds it.
func installAnsible() (ansibleTools, error) {
	repo := filepath.Join(sources(), "..", "..")
	deps := exec.Command(filepath.Join(repo, "scripts", "deps"), "--no-apt", "--ansible")
	deps.Stderr = os.Stderr
	out, err := deps.Output()
	if err != nil {
		return ansibleTools{}, fmt.Errorf("scripts/deps --ansible: %w", err)
	}
	tools := ansibleTools{filepath.Join(strings.TrimSpace(string(out)), "bin"), filepath.Join(run.Dir, "collections")}
	galaxy := func(args ...string) error {
		cmd := exec.Command(filepath.Join(tools.bin, "ansible-galaxy"), append([]string{"collection"}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+run.Dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ansible-galaxy collection %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	source := filepath.Join(repo, "packaging", "ansible", "ansible_collections", "superctl", "superctl")
	if err := galaxy("build", "--output-path", tools.collections, source); err != nil {
		return ansibleTools{}, err
	}
	built, err := filepath.Glob(filepath.Join(tools.collections, "superctl-superctl-*.tar.gz"))
	if err != nil {
		return ansibleTools{}, err
	}
	return tools, galaxy(append([]string{"install", "--offline", "-p", tools.collections}, built...)...)
}

// write writes a file for the controller, and returns its path.
func (c *controller) write(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	must(c.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// play runs ansible-playbook.
func (c *controller) play(args ...string) *Command {
	c.t.Helper()
	args = append([]string{filepath.Join(c.bin, "ansible-playbook"), "-i", filepath.Join(c.dir, "production")}, args...)
	return c.f.Operator(c.t, append(c.env, args...)...)
}

// tasks runs a playbook of these tasks on all hosts.
func (c *controller) tasks(yaml string, args ...string) *Command {
	c.t.Helper()
	path := c.write("play.yml", "- hosts: web\n  become: true\n  gather_facts: false\n  tasks:\n"+yaml)
	return c.play(append([]string{path}, args...)...)
}

// outcomes matches the outcome of a task on a host, and the totals of a host.
var outcomes = regexp.MustCompile(`(?m)^(TASK|ok|changed|skipping|fatal|web\d+ ).*$`)

// outcome returns what a play did: each task with its hosts, and the totals.
func outcome(c *Command) string {
	return strings.Join(outcomes.FindAllString(c.Wait().Text(), -1), "\n")
}

// changes returns the hosts that a task changed.
func changes(c *Command, task string) string {
	text := c.Text()
	_, after, found := strings.Cut(text, task+"]")
	if !found {
		return task + " did not run"
	}
	after, _, _ = strings.Cut(after, "\nTASK ")
	return strings.Join(sorted(regexp.MustCompile(`(?m)^changed: .*$`).FindAllString(after, -1)), "\n")
}

// diffs returns what a play with --diff said, host by host in the order of the names, without what
// has another text at each run.
func diffs(c *Command) string {
	var lines []string
	for line := range strings.Lines(c.Text()) {
		if regexp.MustCompile(`^(ok|changed|fatal|[-+ ])`).MatchString(line) {
			lines = append(lines, regexp.MustCompile(`[0-9.]+(e-[0-9]+)?|: FAILED.*`).ReplaceAllString(line, ""))
		}
	}
	return strings.Join(sorted(lines), "")
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

// putConfig is a task that puts a config of the controller in force.
const putConfig = `
    - superctl.superctl.superctl_config:
        app: shop
        content: "{{ lookup('ansible.builtin.file', config, rstrip=false) }}"
`

func TestAnsiblePutsAConfigInForceAndHidesItsSecrets(t *testing.T) {
	c := newController(t)
	secret := strings.Replace(config, `drain   = "30s"`, `drain   = "29s"`, 1) + "[env]\nPASSWORD = \"correct-horse\"\n"
	path := "config=" + c.write("shop.toml", secret)
	first := c.tasks(putConfig, "-e", path, "--diff", "-vvv").Want(0).Says(`+drain   = "29s"`)
	if strings.Contains(first.Text(), "correct-horse") {
		t.Errorf("the output shows the secret:\n%s", first.Text())
	}
	c.tasks(putConfig, "-e", path).Want(0).Says("changed=0").Says("ok=1")
	for _, h := range c.f.Hosts[:2] {
		h.Run(t, "stat", "-c", "%U %G %a", "/etc/superctl/shop.toml").Want(0).Says("root shop 640")
		h.Superctl(t, "status", "--env").Want(0).Says("PASSWORD")
	}
}

func TestAnsibleRefusesABrokenConfigAtEveryRun(t *testing.T) {
	c := newController(t)
	for what, broken := range map[string]string{
		"unknown key":   strings.Replace(config, "probation ", "probacion ", 1),
		"does not boot": strings.Replace(config, "serve.py", "nothing.py", 1),
	} {
		path := "config=" + c.write("shop.toml", broken)
		for range 2 {
			if r := c.tasks(putConfig, "-e", path, "-l", "web1"); r.Wait().Code != 2 {
				t.Errorf("%s: exit code %d, want 2\n%s", what, r.Code, r.Text())
			} else {
				r.Says(`"changed": false`)
			}
		}
		if now := c.f.Hosts[0].Read(t, "/etc/superctl/shop.toml"); now != config {
			t.Errorf("%s: the config has changed:\n%s", what, now)
		}
	}
	c.f.Hosts[0].Superctl(t, "status").Want(0).Says("shop: 1, ok")
}

func TestTheSetupRoleInstallsAHostOnce(t *testing.T) {
	c := newController(t)
	h := c.f.Hosts[0]
	h.Run(t, "bash", "-euc", `systemctl stop superctl@shop; rm -rf /etc/superctl /srv/shop /var/lib/superctl /usr/bin/superctl \
		/etc/systemd/system/superctl@.service; userdel shop; systemctl daemon-reload`).Want(0)
	must(t, os.MkdirAll(filepath.Join(c.dir, "sources", "bin"), 0o755))
	must(t, os.Symlink(run.Binary, filepath.Join(c.dir, "sources", "bin", "superctl")))
	must(t, os.Symlink(filepath.Join(sources(), "..", "..", "packaging"), filepath.Join(c.dir, "sources", "packaging")))
	setup := func() *Command {
		return c.play(
			"superctl.superctl.setup", "-l", h.Name, "-e", "superctl_app=shop", "-e", "superctl_sources="+c.dir+"/sources",
			"-e", "config="+c.write("shop.toml", config),
		)
	}
	setup().Want(0).Says("failed=0")
	setup().Want(0).Says("changed=0")
	h.Run(t, "systemctl", "is-enabled", "superctl@shop").Want(0)
	h.Superctl(t, "status").Want(0)
}

func TestAnsibleTurnsAllHostsOnce(t *testing.T) {
	c := newController(t)
	deploy := []string{
		"superctl.superctl.deploy", "-e", "superctl_app=shop", "-e", "superctl_bundle=" + Bundle(t, run, c.dir, "4"),
	}
	foretold := c.play(append(deploy, "--check")...).Want(0)
	c.f.wantLive(t, "1 1 1")
	done := c.play(deploy...).Want(0)
	c.f.wantLive(t, "4 4 1")
	if live := "The other hosts cut over"; changes(foretold, live) != changes(done, live) {
		t.Errorf("check mode foretold:\n%s\nand the run did:\n%s", outcome(foretold), outcome(done))
	}
	c.play(deploy...).Want(0).Says("changed=0")
	c.f.Hosts[1].Superctl(t, "history").Want(0).Says("anna")
}

func TestAnsibleTurnsNoHostIfOneRefuses(t *testing.T) {
	c := newController(t)
	c.f.Hosts[1].Fault(t, "2", "refuse")
	deploy := []string{"superctl.superctl.deploy", "-e", "superctl_app=shop", "-e", "superctl_release=2"}
	c.play(deploy...).Want(2).Says("web2: ").Says("2 refuses to start on web2")
	c.f.idle(t)
	c.f.wantLive(t, "1 1 1")
	c.f.wantGeneration(t, 1)
}

func TestAnsibleTakesAllHostsBackIfOneReverts(t *testing.T) {
	c := newController(t)
	r := c.f.Load(t)
	c.f.Hosts[1].Fault(t, "2", "fade")
	c.play("superctl.superctl.deploy", "-e", "superctl_app=shop", "-e", "superctl_release=2").Want(2).Says("web2: ")
	c.f.wantLive(t, "1 1 1")
	r.Stop()
}

func TestAnsibleForetellsWhatItsModulesDo(t *testing.T) {
	c := newController(t)
	path := c.write("shop.toml", strings.Replace(config, `drain   = "30s"`, `drain   = "29s"`, 1))
	tasks := putConfig + `
    - superctl.superctl.superctl_release: {app: shop, release: "2"}
    - superctl.superctl.superctl_release: {app: shop, state: back, from: "3"}
    - superctl.superctl.superctl_release: {app: shop, release: nothing}
`
	foretold := c.tasks(tasks, "-e", "config="+path, "--check", "--diff").Want(2)
	done := c.tasks(tasks, "-e", "config="+path, "--diff").Want(2)
	if diffs(foretold) != diffs(done) {
		t.Errorf("check mode foretold:\n%s\nand the run did:\n%s", foretold.Text(), done.Text())
	}
}
