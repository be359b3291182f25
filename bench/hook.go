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
	"strconv"
	"strings"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// hook.py has the smallest applications that there are, so that what the drain hook costs is not hidden behind them, and times the hook
// alone.
//
//go:embed hook.py
var hookPy []byte

// hookBench measures what the drain hook costs, and writes bench/HOOK.md.
func hookBench(run *harness.Run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the drain hook costs\n\nMade by `make bench ARGS=hook` on %s: %s.\n\n", time.Now().Format(time.DateOnly), machine())
	b.WriteString(`An application that answers "ok", one worker process, 8 clients without a pause, each on one connection; with the hook and without it
in turns of 1 s, 20 times: the median, and for the ratio of two neighbouring turns the quartiles too. How many requests there are in a second, and the slowest
of them, depends on what else the machine does; the processor time of a request hardly does. The last column is the hook's part of one request alone,
timed in one thread: with it less without it.

| | requests/s without | with | ratio | p99 without | with | processor time of a request without | with | ratio | the hook alone |
|---|---|---|---|---|---|---|---|---|---|
`)
	for _, server := range []struct{ name, command string }{
		{"gunicorn", "gunicorn --worker-class gthread --threads 4 hook:wsgi"},
		{"uvicorn", "uvicorn --no-access-log hook:asgi"},
		{"hypercorn", "hypercorn hook:asgi"},
		{"waitress", "waitress-serve hook:wsgi"},
	} {
		s := &scene{run: run}
		row, err := s.hookCost(server.name, server.command)
		s.end()
		if err != nil {
			return err
		}
		fmt.Print(row)
		b.WriteString(row)
	}
	return os.WriteFile(filepath.Join("bench", "HOOK.md"), []byte(b.String()), 0o644)
}

// hookCost is a row of the table.
func (s *scene) hookCost(name, command string) (row string, err error) {
	defer s.recovered(&err)
	apps := [2]*harness.App{}
	for i, web := range []string{"drain_hook = false", ""} {
		apps[i] = harness.New(s, s.run, harness.Options{Server: harness.Server{Name: name, Command: command}, Web: web})
		apps[i].Releases("r1")
		s.must(os.WriteFile(apps[i].Path("releases", "r1", "hook.py"), hookPy, 0o644))
		apps[i].Start("r1")
	}
	var rates [2][]float64
	var took [2][]time.Duration
	var busy, answers [2]float64
	for turn := range 41 {
		i := (turn + 1) / 2 % 2 // without, with, with, without, ...
		network, address := apps[i].Target()
		before := processorTime(apps[i].Status().Generations[0].Workers[0].PID)
		r, err := load.Start(load.Config{Network: network, Address: address, Clients: 8, KeepAlive: true, Shapes: []load.Shape{load.Get("/")}})
		s.must(err)
		<-time.After(time.Second)
		res := r.Stop()
		if len(res.Failed()) > 0 {
			return "", fmt.Errorf("%s: %s", name, res)
		}
		if turn == 0 {
			continue // to warm up
		}
		busy[i] += (processorTime(apps[i].Status().Generations[0].Workers[0].PID) - before).Seconds()
		answers[i] += float64(len(res.Records))
		rates[i] = append(rates[i], float64(len(res.Records))/res.Ended.Sub(res.Began).Seconds())
		for _, rec := range res.Records {
			took[i] = append(took[i], rec.Ended.Sub(rec.Begun))
		}
	}
	ratios := make([]float64, len(rates[0]))
	for i := range ratios {
		ratios[i] = rates[1][i] / rates[0][i]
	}
	p99 := func(i int) float64 { return part(took[i], 99).Seconds() * 1000 }
	alone, err := hookAlone(apps[0].Path("releases", "r1"), name)
	without, with := busy[0]/answers[0]*1e6, busy[1]/answers[1]*1e6
	return fmt.Sprintf("| %s | %.0f | %.0f | %.2f (%.2f to %.2f) | %.1f ms | %.1f ms | %.0f µs | %.0f µs | **%.2f** | %s |\n", name, part(rates[0], 50), part(rates[1], 50),
		part(ratios, 50), part(ratios, 25), part(ratios, 75), p99(0), p99(1), without, with, with/without, alone), err
}

// processorTime is what a process and its children have used (proc_pid_stat(5), in ticks of 10 ms).
func processorTime(pid int) (t time.Duration) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, _ := strconv.Atoi(field)
		t += time.Duration(ticks) * 10 * time.Millisecond
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		n, _ := strconv.Atoi(child)
		t += processorTime(n)
	}
	return t
}

// part is the percentile of a list.
func part[T cmp.Ordered](list []T, percent int) T {
	slices.Sort(list)
	return list[len(list)*percent/100]
}

// hookAlone times the hook in the interpreter of a release.
func hookAlone(release, name string) (string, error) {
	hook, err := filepath.Abs(filepath.Join("supervisor", "drainhook"))
	if err != nil {
		return "", err
	}
	flag := filepath.Join(filepath.Dir(release), "flag")
	if err := os.WriteFile(flag, []byte{0}, 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(release, "venv", "bin", "python"), "hook.py", name)
	cmd.Dir, cmd.Env = release, append(os.Environ(), "PYTHONPATH="+hook, "SUPERCTL_DRAIN="+flag, "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
