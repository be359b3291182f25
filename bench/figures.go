package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
	"superctl/proc"
)

// idle is how long an idle daemon is watched.
const idle = 30 * time.Second

// figure is one line of the table of single figures.
type figure struct{ what, value, how string }

func (f figure) row() string { return fmt.Sprintf("| %s | %s | %s |", f.what, f.value, f.how) }

// figuresBench measures the single figures and writes bench/RESULTS.md.
func figuresBench(run *harness.Run) error {
	s := &scene{run: run}
	list, err := s.figures()
	s.end()
	if err != nil {
		return err
	}
	s = &scene{run: run}
	more, err := s.switchFigures()
	s.end()
	if err != nil {
		return err
	}
	list = append(list, more...)
	var t strings.Builder
	fmt.Fprintf(&t, "# Figures of superctl\n\nMade by `make bench` on %s: %s. The comparison with other tools is in\n[COMPARISON.md](COMPARISON.md).\n\n| | | |\n|---|---|---|\n",
		time.Now().UTC().Format(time.DateOnly), machine())
	for _, f := range list {
		fmt.Fprintln(&t, f.row())
	}
	return os.WriteFile(filepath.Join("bench", "RESULTS.md"), []byte(t.String()), 0o644)
}

// figures measures one app alone on the machine.
func (s *scene) figures() (list []figure, err error) {
	defer s.recovered(&err)
	a := harness.New(s, s.run, harness.Options{Server: harness.GunicornThreads(), Top: `standby = "5m"`})
	for _, name := range names {
		a.Release(name, apps.Behaviour{})
	}
	a.Start("r1")
	timed := func(n int, f func()) string {
		took := make([]time.Duration, n)
		for i := range took {
			began := time.Now()
			f()
			took[i] = time.Since(began)
		}
		return median(took)
	}
	add := func(what, value, how string) { list = append(list, figure{what, value, how}) }
	add("`superctl status`, start to exit", timed(21, func() { a.Command("status").Want(0) }), "median of 21")
	a.Command("switch", "r2").Want(0)
	add(
		"rollback to a warm release, start to exit", timed(11, func() { a.Command("rollback").Want(0) }),
		"median of 11",
	)
	a.Command("switch", "r1")
	add("kill -9 of the daemon until another is in charge, without systemd", timed(100, func() {
		a.Daemon.Kill()
		s.must(a.Launch().Ready())
	}), "median of 100")
	add("`superctl upgrade`, start to exit", timed(100, func() { a.Command("upgrade").Want(0) }), "median of 100")
	pid := a.Status().PID
	add("the daemon's resident memory", resident(pid), "after the above")
	before := switched(pid)
	<-time.After(idle)
	add(
		"the daemon's context switches, idle", fmt.Sprintf("%.1f/s", float64(switched(pid)-before)/idle.Seconds()),
		idle.String()+", after the above",
	)

	bare, under := s.throughput(a)
	add("throughput, bare gunicorn", fmt.Sprintf("%.0f requests/s", bare), "5 s, 8 clients without a pause")
	add("throughput, gunicorn under superctl", fmt.Sprintf("%.0f requests/s (%.2f)", under, under/bare), "the same")
	return list, s.stop(pid)
}

// stop ends a daemon that the harness does not know, because an upgrade started it.
func (s *scene) stop(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
	return err
}

// throughput returns how many requests a second gunicorn answers, alone and under superctl.
func (s *scene) throughput(a *harness.App) (bare, under float64) {
	s.make()
	s.release("r1", apps.Behaviour{})
	s.point("r1")
	address := s.freePort()
	s.spawn(nil, nil, s.path("r1", "venv", "bin", "gunicorn"), gunicornArgs(s, "--bind", address)...)
	s.answering(address)
	network, of := a.Target()
	one := func(network, address string) float64 {
		r, err := load.Start(load.Config{
			Network: network, Address: address, Clients: 8, MaxDuration: 5 * time.Second,
			Shapes: []load.Shape{load.Get("/")},
		})
		s.must(err)
		<-time.After(5 * time.Second)
		res := r.Stop()
		return float64(len(res.Records)) / res.Ended.Sub(res.Began).Seconds()
	}
	one(network, of)
	for range 2 { // alternately, because the speed of the machine varies
		bare += one("tcp", address) / 2
		under += one(network, of) / 2
	}
	return bare, under
}

// switched returns the number of context switches of a process so far.
func switched(pid int) (n int) {
	threads, _ := proc.Threads(pid)
	for _, thread := range threads {
		st, _ := proc.ReadStatus(thread) // fails if the thread has ended
		n += st.Switches
	}
	return n
}

func resident(pid int) string {
	st, err := proc.ReadStatus(pid)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.1f MB", float64(st.Memory)/(1<<20))
}
