package fleet

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// saltMaster and saltMinion are the configs of Salt. A minion is asked early whether it still works
// on a job, and has long to answer, because a loaded machine must not look like a dead minion.
const (
	saltMaster = `interface: 10.77.0.13
user: root
auto_accept: true
worker_threads: 3
timeout: 5
gather_job_timeout: 60
file_roots: {base: [/srv/salt, /root/site/packaging/salt]}
pillar_roots: {base: [/srv/pillar]}
`
	saltMinion = `master: 10.77.0.13
acceptance_wait_time: 1
random_reauth_delay: 1
recon_default: 100
grains_cache: true
enable_fqdns_grains: false
enable_gpu_grains: false
autoload_dynamic_modules: false
`
)

// saltTop has the states that `salt 'web*' state.apply` applies, as in the docs.
const saltTop = `base:
  'web*': [shop]
`

const saltConfig = `/etc/superctl/shop.toml:
  superctl.config:
    - source: salt://shop.toml
    - template: jinja
`

const saltStates = saltConfig + `
shop:
  superctl.live:
    - release: '2'

a bundle:
  superctl.installed:
    - name: shop
    - bundle: salt://shop-4.tar.zst

no such release:
  superctl.live:
    - name: shop
    - release: nothing
`

const saltOrchestration = `all minions or none:
  salt.runner:
    - name: superctl.deploy
    - app: shop
    - tgt: 'web*'
    - bundle: salt://shop-4.tar.zst
`

// salt is a master on web3, with the minions web1 and web2.
type salt struct {
	t   *testing.T
	f   *Fleet
	bin string
}

// TestSalt starts Salt once, and has each promise begin on hosts that have been put back.
func TestSalt(t *testing.T) {
	s := &salt{t: t, f: clean(t)}
	dir, err := pinned("--salt")
	must(t, err)
	s.bin = filepath.Join(dir, "bin")
	s.start()
	for _, promise := range []struct {
		name string
		test func(*salt)
	}{
		{"sets up a minion once", (*salt).setsUp},
		{"foretells what its states do", (*salt).foretells},
		{"hides the secrets of a config", (*salt).hidesSecrets},
		{"refuses a broken config at every run", (*salt).refusesAtEveryRun},
		{"turns all minions, with one message", (*salt).orchestrates},
		{"turns no minion if one refuses", (*salt).turnsNone},
		{"turns no minion of another's deploy", (*salt).yields},
		{"takes all back if one reverts", (*salt).takesBack},
	} {
		t.Run(promise.name, func(t *testing.T) {
			s := &salt{t: t, f: s.f, bin: s.bin}
			s.f.Reset(t)
			s.master("sh", "-euc", "rm -rf /srv/salt /srv/pillar; mkdir -p /srv/salt /srv/pillar").Want(0)
			s.write("/srv/pillar/top.sls", "base: {'*': [secrets]}\n")
			s.write("/srv/pillar/secrets.sls", "password: correct-horse\n")
			promise.test(s)
		})
	}
}

func TestTheRunnerOfSaltTurnsAllMinionsOrNone(t *testing.T) {
	unittests(t, "salt")
}

// start starts Salt as units of the hosts.
func (s *salt) start() {
	s.t.Helper()
	unit := func(h *Host, name, config string) {
		h.Run(s.t, "sh", "-euc", `mkdir -p /etc/salt; printf %s "$2" >/etc/salt/"$1"
			systemd-run --quiet --collect --unit="salt-$1" -p KillMode=process "$3/salt-$1"`, "sh", name, config, s.bin).Want(0)
		s.t.Cleanup(func() { h.Run(s.t, "systemctl", "kill", "--kill-whom=all", "--signal=KILL", "salt-"+name).Wait() })
	}
	unit(s.f.Hosts[2], "master", saltMaster)
	for _, h := range s.f.Hosts[:2] {
		unit(h, "minion", saltMinion+"id: "+h.Name+"\n")
	}
	harness.Eventually(s.t, "both minions answer", func() bool {
		return strings.Count(s.salt("web*", "test.ping").Wait().Stdout(), "true") == 2
	})
	s.salt("web*", "saltutil.sync_all").Want(0)
	s.run("saltutil.sync_runners").Want(0)
}

// master starts a command on the master's host.
func (s *salt) master(args ...string) *Command { s.t.Helper(); return s.f.Hosts[2].Run(s.t, args...) }

func (s *salt) salt(args ...string) *Command {
	s.t.Helper()
	return s.master(append([]string{filepath.Join(s.bin, "salt"), "--out=json", "--static"}, args...)...)
}

// run starts salt-run.
func (s *salt) run(args ...string) *Command {
	s.t.Helper()
	return s.master(append([]string{filepath.Join(s.bin, "salt-run"), "--out=json"}, args...)...)
}

// write writes a file of the master.
func (s *salt) write(path, text string) {
	s.t.Helper()
	s.master("sh", "-euc", `mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"`, "sh", path, text).Want(0)
}

// deploy makes 2 live on all minions, by the runner.
func (s *salt) deploy() *Command {
	s.t.Helper()
	return s.run("superctl.deploy", "shop", "web*", "release=2", "by=anna")
}

// wantLive fails the test unless the minions have these live releases.
func (s *salt) wantLive(want string) {
	s.t.Helper()
	s.f.wantLive(s.t, want+" 1") // web3 is the master
}

// state is what a state returns.
type state struct {
	Result  *bool          `json:"result"`
	Changes map[string]any `json:"changes"`
	Comment string         `json:"comment"`
}

// apply applies the states of top.sls on web1, and returns what they return, in order of their IDs.
func (s *salt) apply(args ...string) (all []state) {
	s.t.Helper()
	r := s.salt(append([]string{"web1", "state.apply"}, args...)...).Wait()
	var minions map[string]map[string]state
	if err := json.Unmarshal([]byte(r.Stdout()), &minions); err != nil {
		s.t.Fatalf("state.apply: %v\n%s", err, r.Text())
	}
	for _, id := range slices.Sorted(maps.Keys(minions["web1"])) {
		all = append(all, minions["web1"][id])
	}
	return all
}

// withConfig gives the master these states, and a config with a secret of the pillar.
func (s *salt) withConfig(states, config string) {
	s.t.Helper()
	s.write("/srv/salt/top.sls", saltTop)
	s.write("/srv/salt/shop.sls", states)
	s.write("/srv/salt/shop.toml", config+"[env]\nPASSWORD = \"{{ pillar.password }}\"\n")
}

// setsUp applies packaging/salt/shop.sls on a minion that has nothing of superctl.
func (s *salt) setsUp() {
	s.f.Hosts[0].Run(s.t, "bash", "-euc", `systemctl stop superctl@shop; rm -rf /etc/superctl /srv/shop /var/lib/superctl \
		/usr/bin/superctl /etc/systemd/system/superctl@.service /usr/lib/*.d/superctl.conf; userdel shop; systemctl daemon-reload`).Want(0)
	s.master("sh", "-euc", `mkdir /srv/salt/superctl
		cp /root/site/superctl /root/site/packaging/systemd/superctl@.service /root/site/packaging/systemd/*.conf /srv/salt/superctl`).Want(0)
	s.write("/srv/salt/shop.toml", config)
	s.bundle()
	const pillar = `pillar={"bundle": "shop-4.tar.zst"}`
	for i, state := range s.apply("shop", pillar, "test=True") {
		if state.Result != nil && !*state.Result {
			s.t.Errorf("test=True: state %d fails: %s", i, state.Comment)
		}
	}
	s.salt("web1", "state.apply", "shop", pillar).Want(0)
	for _, state := range s.apply("shop", pillar) {
		if len(state.Changes) > 0 {
			s.t.Errorf("a second run changes %v", state.Changes)
		}
	}
	if live := s.f.Hosts[0].Status(s.t).Release; live != "4" {
		s.t.Errorf("%s is live, want 4", live)
	}
}

// bundle gives the master the bundle of release 4.
func (s *salt) bundle() {
	s.t.Helper()
	content, err := os.ReadFile(Bundle(s.t, run, s.t.TempDir(), "4"))
	must(s.t, err)
	c := s.master("sh", "-c", "base64 -d >/srv/salt/shop-4.tar.zst")
	c.Type(base64.StdEncoding.EncodeToString(content)).Want(0)
}

func (s *salt) foretells() {
	t := s.t
	s.withConfig(saltStates, strings.Replace(config, `drain   = "30s"`, `drain   = "29s"`, 1))
	s.bundle()
	foretold, done, again := s.apply("test=True"), s.apply(), s.apply()
	if len(done) != 4 || len(foretold) != 4 {
		t.Fatalf("want 4 states, got %+v and %+v", foretold, done)
	}
	for i, state := range done {
		want, _ := json.Marshal(state.Changes)
		got, _ := json.Marshal(foretold[i].Changes)
		if foretold := foretold[i].Result; string(got) != string(want) || (foretold == nil) != (len(state.Changes) > 0) {
			t.Errorf("test=True foretold %s, and the state did %s: %s", got, want, state.Comment)
		}
		if len(again[i].Changes) > 0 {
			t.Errorf("a second run changes %v", again[i].Changes)
		}
	}
	if live := s.f.Hosts[0].Status(t).Release; live != "2" {
		t.Errorf("%s is live, want 2", live)
	}
}

func (s *salt) hidesSecrets() {
	t := s.t
	s.withConfig(saltConfig, config)
	applied := s.salt("-l", "debug", "web1", "state.apply").Want(0).Says("env.PASSWORD")
	if strings.Contains(applied.Text(), "correct-horse") {
		t.Errorf("the output shows the secret:\n%s", applied.Text())
	}
	s.master("grep", "-r", "correct-horse", "/var/cache/salt/master/jobs").Want(1)
	secret := s.f.Hosts[0].Read(t, "/etc/superctl/shop.toml")
	s.write("/srv/pillar/secrets.sls", fmt.Sprintf("shop: {toml: %q}\n", secret))
	s.write("/srv/salt/shop.sls", "/etc/superctl/shop.toml:\n  superctl.config: [contents_pillar: 'shop:toml']\n")
	if same := s.apply(); len(same) != 1 || same[0].Comment != "the config is in force" || len(same[0].Changes) > 0 {
		t.Errorf("the config as a value of the pillar: %+v", same)
	}
	s.f.Hosts[0].Run(t, "stat", "-c", "%U %G %a", "/etc/superctl/shop.toml").Want(0).Says("root shop 640")
	s.f.Hosts[0].Run(t, "grep", "correct-horse", "/etc/superctl/shop.toml").Want(0)
	s.f.Hosts[0].Run(t, "grep", "-r", "correct-horse", "/var/cache/salt/minion", "/var/log/salt").Want(1)
}

func (s *salt) refusesAtEveryRun() {
	t := s.t
	s.withConfig(saltConfig,
		strings.Replace(config, "serve.py", "nothing.py", 1))
	for range 2 {
		if refused := s.apply(); len(refused) != 1 || refused[0].Result == nil || *refused[0].Result {
			t.Errorf("the config is not refused: %+v", refused)
		}
	}
	if now := s.f.Hosts[0].Read(t, "/etc/superctl/shop.toml"); now != config {
		t.Errorf("the config has changed:\n%s", now)
	}
	s.f.Hosts[0].Superctl(t, "status").Want(0).Says("shop: 1, ok")
}

func (s *salt) orchestrates() {
	t := s.t
	s.bundle()
	s.write("/srv/salt/orch.sls", saltOrchestration)
	s.f.listenToChat(t)
	s.run("state.orchestrate", "orch").Want(0)
	s.wantLive("4 4")
	const want = "shop: 4 is live on web1 and web2 (deploy by root ("
	if got := s.f.messages(t, s.f.Hosts[0]); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("the team is told:\n%s\nand not once\n%s...", got, want)
	}
}

func (s *salt) turnsNone() {
	t := s.t
	s.f.Hosts[1].Fault(t, "2", "refuse")
	s.deploy().Want(1).Says("web2: ").Says("2 refuses to start on web2")
	s.f.idle(t)
	s.wantLive("1 1")
	s.f.wantGeneration(t, 1)
}

func (s *salt) yields() {
	lock := s.f.Hosts[1].Superctl(s.t, "lock", "--run", "other", "--why", "moving the database").Await("locked")
	s.deploy().Want(4).Says("web2: ").Says("moving the database")
	lock.Want(0)
	s.wantLive("1 1")
	s.deploy().Want(0) // no minion has stayed locked
	s.wantLive("2 2")
}

func (s *salt) takesBack() {
	t := s.t
	r := s.f.Load(t)
	s.f.Hosts[1].Fault(t, "2", "fade")
	s.deploy().Want(5).Says("web2: ")
	s.wantLive("1 1")
	s.f.Hosts[0].Superctl(t, "history").Want(0).Says("anna")
	r.Stop()
}
