package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// operator runs superctl's fleet client as the operator.
type operator struct {
	t      *testing.T
	f      *Fleet
	config string
	dir    string
	env    []string

	mu   sync.Mutex
	seen func(message) // guarded by mu
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	f := clean(t)
	o := &operator{t: t, f: f, dir: filepath.Join(f.Dir, "operator")}
	must(t, os.RemoveAll(o.dir))
	must(t, os.Mkdir(o.dir, 0o755))
	o.config = filepath.Join(o.dir, "superctl.fleet.toml")
	names := make([]string, 0, len(f.Hosts))
	for _, h := range f.Hosts {
		names = append(names, `"`+h.Name+`"`)
	}
	must(t, os.WriteFile(o.config,
		[]byte("[fleet.production]\napp = \"shop\"\nhosts = ["+strings.Join(names, ", ")+"]\n"), 0o644))
	return o
}

// superctl starts `superctl @production` with these arguments.
func (o *operator) superctl(args ...string) *Command {
	o.t.Helper()
	words := append([]string{"env", "HOME=" + o.dir}, o.env...)
	return o.f.Operator(o.t, append(append(words, run.Binary, "@production", "--config", o.config), args...)...)
}

// see has the messages of all clients from now on wait until f has seen them.
func (o *operator) see(f func(message)) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = f
	if o.env != nil {
		return
	}
	program, err := os.Executable()
	must(o.t, err)
	o.env = []string{"SUPERCTL_SSH=" + program, seeMessages(o.t, o.dir, func(m message) {
		o.mu.Lock()
		seen := o.seen
		o.mu.Unlock()
		seen(m)
	})}
}

func TestADeployTurnsAllHostsAndLosesNothing(t *testing.T) {
	o := newOperator(t)
	r := o.f.Load(t)
	must(t, r.WaitMore(t.Context(), 50))
	bundle := Bundle(t, run, o.dir, "4")
	o.superctl("deploy", bundle).Want(0)
	o.f.wantLive(t, "4 4 4")
	o.superctl("deploy", bundle).Want(0)
	o.f.wantGeneration(t, 2)
	o.superctl("rollback").Want(0)
	o.f.wantLive(t, "1 1 1")
	must(t, r.WaitMore(t.Context(), 50))
	if result := r.Stop(); len(result.Failed()) > 0 {
		t.Errorf("requests were lost: %s", result)
	}
}

func TestAHostThatRefusesLeavesAllHostsAlone(t *testing.T) {
	o := newOperator(t)
	o.f.Hosts[1].Fault(t, "2", "refuse")
	o.superctl("switch", "2").Want(1).Says("2 refuses to start on web2")
	o.f.idle(t)
	o.f.wantGeneration(t, 1)
}

func TestAHostThatRevertsTakesAllHostsBack(t *testing.T) {
	o := newOperator(t)
	r := o.f.Load(t)
	o.f.Hosts[2].Fault(t, "2", "fade")
	o.superctl("switch", "2").Want(5).Says("web3")
	o.f.idle(t)
	o.f.wantLive(t, "1 1 1")
	if result := r.Stop(); len(result.Failed()) > 0 {
		t.Errorf("requests were lost: %s", result)
	}
}

// TestTheHostsComeFromAnAnsibleInventory reads it with the real ansible-inventory.
func TestTheHostsComeFromAnAnsibleInventory(t *testing.T) {
	o := newOperator(t)
	tools, err := ansible()
	must(t, err)
	for name, text := range map[string]string{
		"superctl.fleet.toml": "[fleet.production]\napp = \"shop\"\ninventory = \"hosts.yml\"\n",
		"hosts.yml": `all:
  children:
    production:
      vars: {ansible_user: deploy}
      hosts:
        eu-1: {ansible_host: 10.77.0.11}
        us-1: {ansible_host: 10.77.0.12, ansible_port: 22}
    staging:
      hosts: {web3: {}}
`,
	} {
		must(t, os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o644))
	}
	o.env = []string{"LC_ALL=C.UTF-8", "PATH=" + tools.bin + ":" + os.Getenv("PATH")}
	o.superctl("switch", "2").Want(0).Says("2 hosts")
	o.f.wantLive(t, "2 2 1")
	o.superctl("status").Want(0).Says("eu-1").Says("us-1")
}

func TestASecondOperatorIsToldWhoDeploys(t *testing.T) {
	o := newOperator(t)
	first := o.superctl("lock", "--why", "a look at the database").Await("locked")
	o.superctl("switch", "2").Want(4).Says("a look at the database")
	first.Terminate()
	o.superctl("switch", "2").Want(0)
	o.f.wantLive(t, "2 2 2")
}

func TestAHostThatIsDownIsKnownBeforeAnythingBegins(t *testing.T) {
	o := newOperator(t)
	o.f.Hosts[1].Refuse(t)
	o.superctl("switch", "2").Want(3).Says("web2")
	o.f.wantGeneration(t, 1)
	o.superctl("switch", "2", "--without", "web2").Want(6)
	o.f.wantLive(t, "2 1 2")
	o.f.Hosts[1].Mend(t)
	o.superctl("finish").Want(0)
	o.f.wantLive(t, "2 2 2")
}
