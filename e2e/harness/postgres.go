package harness

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Postgres is a PostgreSQL server of one test, reachable by its unix socket only.
type Postgres struct {
	program
	t   T
	dir string
}

// StartPostgres makes a cluster, starts its server and waits until it accepts connections.
// PostgreSQL refuses to run as root, so it then runs as the user of Debian's package.
func StartPostgres(t T, run *Run) *Postgres {
	t.Helper()
	p := &Postgres{t: t, dir: filepath.Join(run.Dir, fmt.Sprintf("pg%d", run.apps.Add(1)))}
	p.must(os.Mkdir(p.dir, 0o755))
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		p.must(err)
		uid, err := strconv.Atoi(u.Uid)
		p.must(err)
		gid, err := strconv.Atoi(u.Gid)
		p.must(err)
		p.must(os.Chown(p.dir, uid, gid))
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	command := func(name string, args ...string) *exec.Cmd {
		binaries, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		p.must(err)
		if len(binaries) == 0 {
			t.Fatalf("there is no %s of PostgreSQL: scripts/deps installs it", name)
		}
		cmd := exec.Command(binaries[len(binaries)-1], args...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = p.dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}, attr
		return cmd
	}
	if out, err := command("initdb", "--no-sync", "--auth=trust", "--username=shop",
		"--pgdata=data").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.cmd = command("postgres", "-D", "data", "-F", "-k", p.dir, "-c", "listen_addresses=")
	p.must(p.start())
	t.Cleanup(p.Stop)
	if !p.says("ready to accept connections") {
		t.Fatalf("PostgreSQL does not take connections:\n%s", p.log.String())
	}
	return p
}

// Socket returns the directory of its socket.
func (p *Postgres) Socket() string { return p.dir }

// Stop stops the server, and ends all connections to it.
func (p *Postgres) Stop() {
	p.end(p.t, syscall.SIGINT) // a fast shutdown
}

func (p *Postgres) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("start PostgreSQL: %v", err)
	}
}
