package main

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
	"superctl/proc"
)

// hook.py has minimal applications, so that they do not hide the cost of the drain hook, and times
// the hook alone.
//
//go:embed hook.py
var hookPy []byte

// hookBench measures the cost of the drain hook and writes bench/HOOK.md.
func hookBench(run *harness.Run) error {
	var b strings.Builder
	fmt.Fprintf(
		&b, "# What the drain hook costs, with the count of requests\n\nMade by `make bench ARGS=hook` on %s: %s.\n\n",
		time.Now().Format(time.DateOnly), machine(),
	)
	b.WriteString(`An application that answers "ok", one worker process, 8 clients without a pause, each on one connection; with the hook and without it
in turns of half a second. "c" is the hook with its part in C, "python" the hook without it, as in interpreters that cannot load that. Both are restarted three times, 12 turns each, in
case two processes of one program differ. For the ratio of two neighbouring turns: the median and the quartiles. How many requests there are in a second, and the slowest of
them, depends on what else the machine does; the processor time of a request hardly does, and its ratio is what the hook costs. The last column is the hook's part of
one request alone, timed in one thread: with it less without it.

| | hook in | requests/s without | with | ratio | p99 without | with | processor time of a request without | with | ratio | the hook alone |
|---|---|---|---|---|---|---|---|---|---|---|
`)
	for _, server := range []struct{ name, command string }{
		{"gunicorn", "gunicorn --worker-class gthread --threads 4 hook:wsgi"},
		{"gunicorn, asgi", "gunicorn --worker-class asgi hook:asgi"},
		{"uvicorn", "uvicorn --no-access-log hook:asgi"},
		{"hypercorn", "hypercorn hook:asgi"},
		{"granian, asgi", "granian --interface asgi hook:asgi"},
		{"granian, wsgi", "granian --interface wsgi hook:wsgi"},
		{"daphne", "daphne --verbosity 0 hook:asgi"},
		{"waitress", "waitress-serve hook:wsgi"},
		{"cheroot", "python -m cheroot hook:wsgi"},
	} {
		for _, part := range []string{"c", "python"} {
			s := &scene{run: run}
			row, err := s.hookCost(server.name, server.command, part)
			s.end()
			if err != nil {
				return err
			}
			fmt.Print(row)
			b.WriteString(row)
		}
	}
	return os.WriteFile(filepath.Join("bench", "HOOK.md"), []byte(b.String()), 0o644)
}

// spell is what one turn of a server has come to.
type spell struct {
	rate, busy float64 // requests in a second, seconds of the processor for one
	took       []time.Duration
}

// hookCost is a row of the table: a server with the hook in C or in Python.
func (s *scene) hookCost(name, command, part string) (row string, err error) {
	defer s.recovered(&err)
	apps := [2]*harness.App{}
	for i, web := range []string{"drain_hook = false", ""} {
		apps[i] = harness.New(s, s.run, harness.Options{
			Server: harness.Server{Name: name, Command: command}, Web: web,
			Env: fmt.Sprintf("PYTHONHASHSEED = \"0\"\nDRAIN_HOOK = %q", part),
		})
		apps[i].Releases("r1")
		s.must(os.WriteFile(apps[i].Path("releases", "r1", "hook.py"), hookPy, 0o644))
		apps[i].Start("r1")
	}
	var turns [2][]spell
	for round := range 3 {
		for i := range apps {
			if round > 0 {
				apps[i].Command("restart", "web").Want(0)
			}
			s.turn(apps[i]) // to warm up
		}
		for n := range 12 {
			i := (n + 1) / 2 % 2 // without, with, with, without, ...
			turns[i] = append(turns[i], s.turn(apps[i]))
		}
	}
	installed, err := filepath.Glob(apps[1].Path("run", "*.drain"))
	if err != nil || len(installed) != 1 {
		return "", fmt.Errorf("the hook is in %q: %w", installed, err)
	}
	alone, err := hookAlone(apps[0].Path("releases", "r1"), name, installed[0], part)
	rate, busy := func(t spell) float64 { return t.rate }, func(t spell) float64 { return t.busy * 1e6 }
	return fmt.Sprintf(
		"| %s | %s | %s | %.1f ms | %.1f ms | %s | %s |\n", name, part, compared("%.0f", turns, rate), p99(turns[0]),
		p99(turns[1]), compared("%.0f µs", turns, busy), alone,
	), err
}

// turn has clients ask for half a second.
func (s *scene) turn(a *harness.App) spell {
	network, address := a.Target()
	pid := a.Status().Generations[0].Workers[0].PID
	before := processorTime(pid)
	r, err := load.Start(load.Config{
		Network: network, Address: address, Clients: 8, KeepAlive: true, Shapes: []load.Shape{load.Get("/")},
	})
	s.must(err)
	<-time.After(500 * time.Millisecond)
	res := r.Stop()
	if len(res.Failed()) > 0 {
		s.must(fmt.Errorf("%s", res))
	}
	n := float64(len(res.Records))
	t := spell{rate: n / res.Ended.Sub(res.Began).Seconds(), busy: (processorTime(pid) - before).Seconds() / n}
	for _, rec := range res.Records {
		t.took = append(t.took, rec.Ended.Sub(rec.Begun))
	}
	return t
}

// compared is three columns: the median without the hook, with it, and of the ratios of
// neighbouring turns, with their quartiles.
func compared(format string, turns [2][]spell, of func(spell) float64) string {
	var values [2][]float64
	ratios := make([]float64, len(turns[0]))
	for i := range ratios {
		without, with := of(turns[0][i]), of(turns[1][i])
		values[0], values[1], ratios[i] = append(values[0], without), append(values[1], with), with/without
	}
	return fmt.Sprintf(
		format+" | "+format+" | **%.2f** (%.2f to %.2f)", part(values[0], 50), part(values[1], 50), part(ratios, 50),
		part(ratios, 25), part(ratios, 75),
	)
}

// p99 is that of all turns, in milliseconds.
func p99(turns []spell) float64 {
	var all []time.Duration
	for _, t := range turns {
		all = append(all, t.took...)
	}
	return part(all, 99).Seconds() * 1000
}

// processorTime returns what a process and its children have used.
func processorTime(pid int) time.Duration {
	s, err := proc.ReadStat(pid)
	if err != nil {
		return 0
	}
	t := s.CPU
	children, _ := proc.Children(pid) // fails if the process has ended
	for _, child := range children {
		t += processorTime(child)
	}
	return t
}

// part is the percentile of a list.
func part[T cmp.Ordered](list []T, percent int) T {
	slices.Sort(list)
	return list[len(list)*percent/100]
}

// hookAlone times the installed hook in the interpreter of a release.
func hookAlone(release, name, hook, part string) (string, error) {
	flag := filepath.Join(filepath.Dir(release), "flag")
	if err := os.WriteFile(flag, []byte{0}, 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(release, "venv", "bin", "python"), "hook.py", name)
	counts := filepath.Join(filepath.Dir(release), "counts")
	if err := os.MkdirAll(counts, 0o700); err != nil {
		return "", err
	}
	cmd.Dir, cmd.Env = release, append(
		os.Environ(), "PYTHONPATH="+hook, "SUPERCTL_DRAIN="+flag, "SUPERCTL_REQUESTS="+counts,
		"DRAIN_HOOK="+part, "PYTHONDONTWRITEBYTECODE=1",
	)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
