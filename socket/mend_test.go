package socket

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// servingUnix returns a gate in its own directory, with generation 1 live and a worker that
// answers.
func servingUnix(t *testing.T) (g *Gate, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run", "s")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	g = newGate(t, Options{Address: address(t, "unix:"+path)})
	switchOver(t, g, 0, 1)
	return g, path
}

func TestARemovedPathIsRestored(t *testing.T) {
	for what, remove := range map[string]func(t *testing.T, path string){
		"the public one":                  func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"a generation's own":              func(t *testing.T, path string) { must(t, os.Remove(path+".g1")) },
		"the public one, a file instead":  func(t *testing.T, path string) { replaceBySocket(t, path) },
		"a generation's own, another one": func(t *testing.T, path string) { replaceBySocket(t, path+".g1") },
	} {
		t.Run(what, func(t *testing.T) {
			g, path := servingUnix(t)
			remove(t, path)
			if m := g.Mend(); len(m.Lost) != 0 {
				t.Errorf("Mend() = %+v", m)
			}
			wantVisit(t, g, 1)
			wantProbe(t, g, 1)
			must(t, g.Verify(t.Context(), 1))
			switchOver(t, g, 1, 2)
			wantVisit(t, g, 2)
		})
		t.Run(what+", and the next switch mends it", func(t *testing.T) {
			g, path := servingUnix(t)
			remove(t, path)
			switchOver(t, g, 1, 2)
			wantVisit(t, g, 2)
		})
	}
}

// replaceBySocket replaces a socket by one without a listener.
func replaceBySocket(t *testing.T, path string) {
	t.Helper()
	must(t, os.Remove(path))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
}

func TestAnUnreachableListenerIsLost(t *testing.T) {
	for what, lose := range map[string]func(t *testing.T, g *Gate, path string){
		"both paths removed": func(t *testing.T, _ *Gate, path string) {
			must(t, os.Remove(path))
			must(t, os.Remove(path+".g1"))
		},
		"the directory recreated": func(t *testing.T, _ *Gate, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
		},
		"a worker shut it down": func(t *testing.T, g *Gate, _ string) { shutDown(t, g, 1) },
	} {
		t.Run(what, func(t *testing.T) {
			g, path := servingUnix(t)
			lose(t, g, path)
			if m := g.Mend(); !slices.Equal(m.Lost, []int{1}) || len(m.Said) == 0 {
				t.Errorf("Mend() = %+v", m)
			}
			if g.Verify(t.Context(), 1) == nil {
				t.Error("it is said to be reached")
			}
			must(t, g.Stage(2))
			startWorker(t, g, 2)
			wantProbe(t, g, 2)
			must(t, g.Cutover(2))
			must(t, g.Close(1))
			wantVisit(t, g, 2)
		})
	}
}

func TestAPathTakenByAnotherProgramIsRestored(t *testing.T) {
	g, path := servingUnix(t)
	must(t, os.Remove(path))
	pid, _ := startChild(t, nil, nil, "listen", "unix:"+path, "0")
	m := g.Mend()
	if len(m.Said) != 1 ||
		!strings.Contains(m.Said[0], fmt.Sprintf("was taken by %s (pid %d)", processName(pid), pid)) {
		t.Errorf("Mend() = %+v", m)
	}
	wantVisit(t, g, 1)
}

// watched runs the watch of a gate, and mends what it reports.
func watched(t *testing.T, g *Gate) (told <-chan Mended) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	all := make(chan Mended, 100)
	started, ended := make(chan struct{}), make(chan error, 1)
	first := true
	go func() {
		ended <- g.Watch(ctx, func() {
			m := g.Mend()
			if first {
				first = false
				close(started)
			}
			if len(m.Said) > 0 {
				all <- m
			}
		})
	}()
	<-started
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return all
}

func wantTold(t *testing.T, told <-chan Mended, want string) {
	t.Helper()
	for {
		select {
		case m := <-told:
			if strings.Contains(strings.Join(m.Said, "\n"), want) {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing is told of %q", want)
		}
	}
}

func TestAChangeOfAListenerIsReportedAtOnce(t *testing.T) {
	t.Run("the public path is removed", func(t *testing.T) {
		g, path := servingUnix(t)
		told := watched(t, g)
		must(t, os.Remove(path))
		wantTold(t, told, "was removed; it leads to generation 1 again")
		wantVisit(t, g, 1)
	})
	t.Run("the directory is removed and recreated", func(t *testing.T) {
		g, path := servingUnix(t)
		told := watched(t, g)
		// In one step: the watch links paths again while os.RemoveAll is removing them.
		must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".removed"))
		wantTold(t, told, "were removed")
		must(t, os.Mkdir(filepath.Dir(path), 0o755))
		wantTold(t, told, "were removed")
		must(t, g.Stage(2))
		startWorker(t, g, 2)
		must(t, g.Cutover(2))
		must(t, g.Close(1))
		must(t, os.Remove(path))
		wantTold(t, told, "it leads to generation 2 again")
	})
	t.Run("a worker shuts a TCP listener down", func(t *testing.T) {
		g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
		switchOver(t, g, 0, 1)
		told := watched(t, g)
		must(t, g.Stage(2))
		for _, gen := range []int{1, 2, 1} {
			shutDown(t, g, gen)
			wantTold(t, told, fmt.Sprintf("a worker of generation %d had shut down", gen))
			wantProbeSoon(t, g, gen)
		}
	})
	t.Run("a worker shuts a shared listener down", func(t *testing.T) {
		g := newGate(t, Options{Address: freePort(t, "127.0.0.1"), Gate: "shared"})
		must(t, g.Stage(1))
		told := watched(t, g)
		shutDown(t, g, 1)
		wantTold(t, told, "it listens again")
		must(t, g.Verify(t.Context(), 1))
	})
}

// wantProbeSoon is for a worker that a shutdown has ended: only the queue that the probe reaches
// matters.
func wantProbeSoon(t *testing.T, g *Gate, gen int) {
	t.Helper()
	conn, err := g.Dial(soon(t), gen)
	must(t, err)
	must(t, conn.Close())
	must(t, g.Verify(t.Context(), gen))
}

func TestAnIdleWatchIsNotWoken(t *testing.T) {
	for _, a := range []Address{freePort(t, "127.0.0.1"), address(t, "unix:"+t.TempDir()+"/s")} {
		g := newGate(t, Options{Address: a})
		must(t, g.Stage(1))
		startWorker(t, g, 1)
		must(t, g.Cutover(1))
		ctx, cancel := context.WithCancel(t.Context())
		calls, ended := 0, make(chan error, 1)
		started := make(chan struct{})
		go func() {
			ended <- g.Watch(ctx, func() {
				if calls++; calls == 1 {
					close(started)
				}
			})
		}()
		<-started
		for range 100 {
			wantVisit(t, g, 1)
		}
		cancel()
		must(t, <-ended)
		if calls != 1 {
			t.Errorf("%s: it was woken %d times by connections", a, calls-1)
		}
	}
}

func TestAFileThatReplacedTheSocketKeepsItsOwner(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "s")
	must(t, os.WriteFile(victim, nil, 0o600))
	for what, put := range map[string]func() error{
		"a symbolic link": func() error { return os.Symlink(victim, path) },
		"a hard link":     func() error { return os.Link(victim, path) },
		"another socket":  func() error { replaceBySocketAt(t, path); return nil },
	} {
		t.Run(what, func(t *testing.T) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must(t, err)
			defer unix.Close(fd)
			must(t, beneath.BindUnix(fd, path, 0o666))
			must(t, os.Remove(path))
			must(t, put())
			defer os.Remove(path)
			if chownSocket(fd, path, os.Getuid()+1, -1) == nil {
				t.Error("it was given away")
			}
			st, err := os.Stat(victim)
			must(t, err)
			if st.Mode().Perm() != 0o600 {
				t.Errorf("mode %o", st.Mode().Perm())
			}
		})
	}
}

func replaceBySocketAt(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
	replaceBySocket(t, path)
}

func TestRelistenRestoresBacklogAndNonblock(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		must(t, unix.Listen(fd, 100)) // as hypercorn does
		if _, limit, _ := g.Queue(1); limit != 100 {
			t.Fatalf("the queue's limit is %d: listening again did not change it", limit)
		}
		must(t, g.Relisten(1))
		if _, limit, _ := g.Queue(1); limit != defaultBacklog {
			t.Errorf("the queue's limit is %d", limit)
		}
		must(t, unix.SetNonblock(fd, false))
		fails(t, g.Relisten(1), "O_NONBLOCK")
		must(t, g.Relisten(1))
	})
}

func TestAListenerThatAWorkerShutDownComesBack(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	for gen := 1; gen <= 3; gen++ {
		must(t, g.Stage(gen))
	}
	startWorker(t, g, 3)
	must(t, g.Cutover(1))
	shutDown(t, g, 1)
	fails(t, g.Cutover(1), "has shut down its listener")
	fails(t, g.Relisten(1), "had shut down the listener")
	startWorker(t, g, 1)
	startWorker(t, g, 2)
	wantVisit(t, g, 1)
	for gen := 1; gen <= 3; gen++ {
		wantProbe(t, g, gen)
	}
}

func TestAWorkersShutdownAtItsEndDoesNotDivertConnections(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	for gen := 1; gen <= 4; gen++ {
		must(t, g.Stage(gen))
	}
	must(t, g.Cutover(3))
	for _, gen := range []int{2, 3, 4} {
		startWorker(t, g, gen)
	}
	shutDown(t, g, 1)
	for _, gen := range []int{4, 3, 2} {
		wantProbe(t, g, gen)
	}
	wantVisit(t, g, 3)
	must(t, g.Close(1))
	must(t, g.Close(2))
	wantVisit(t, g, 3)
	wantProbe(t, g, 4)
}

// shutDown does what uWSGI does with --shutdown-sockets.
func shutDown(t *testing.T, g *Gate, gen int) {
	t.Helper()
	fd, err := g.FD(gen)
	must(t, err)
	must(t, unix.Shutdown(fd, unix.SHUT_RDWR))
}
