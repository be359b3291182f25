package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/load"
)

// write writes the tables, the plots and every request.
func (c *comparison) write() error {
	files := map[string][]byte{"COMPARISON.md": []byte(c.report())}
	if len(c.played) > 0 {
		for _, w := range ways() {
			files[w.file] = plot(c.played, w.name)
		}
		all, err := raw(c.played)
		if err != nil {
			return err
		}
		files["comparison.csv.gz"] = all
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.o.out, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// report is bench/COMPARISON.md.
func (c *comparison) report() string {
	var t strings.Builder
	fmt.Fprintf(&t, `# superctl compared with other tools, in figures

Made by `+"`go run ./bench %s`"+` on %s: %s. [docs/comparison.md](../docs/comparison.md) says what was done and how, and where superctl is not ahead.
`, strings.Join(os.Args[1:], " "), c.began.UTC().Format(time.DateOnly), strings.Join(c.versions(), ", "))
	if len(c.played) > 0 {
		c.switchTables(&t)
		c.memoryTable(&t)
	}
	if len(c.broken) > 0 {
		c.brokenTable(&t)
	}
	if len(c.worker) > 0 {
		c.workerTable(&t)
	}
	if len(c.killed) > 0 {
		c.killTable(&t)
	}
	return t.String()
}

func (c *comparison) switchTables(t *strings.Builder) {
	fmt.Fprintf(t, `
## Switches between two good releases

%d switches each. Latency is that of the quick requests (GET, and POST of 4 KiB), counted from the moment when each was due; "steady" is before the
first switch, "during" from the moment when a switch is asked for until one second after only the new release answers. "Mixed" is how long some users met the old release and
others the new one, at the worst.
`, c.o.switches)
	for _, w := range ways() {
		fmt.Fprintf(
			t,
			"\n### %s\n\n| | requests | **failed** | on new, kept connections, slow and large | p99 steady | p99 during | slowest during | until only the new one answers | mixed |\n|---|---|---|---|---|---|---|---|---|\n",
			w.title,
		)
		for _, p := range c.played {
			if p.err != nil {
				fmt.Fprintf(t, "| %s | not measured: %s |||||||\n", p.name, oneLine(p.err))
				continue
			}
			for _, s := range p.strips {
				if s.way == w.name {
					t.WriteString(s.row(p.name))
				}
			}
		}
		t.WriteByte('\n')
		for _, p := range c.played {
			for _, s := range p.strips {
				if s.way == w.name && len(s.result.Failed()) > 0 {
					fmt.Fprintf(t, "- %s: %s\n", p.name, classes(s.result.Failed()))
				}
			}
		}
		fmt.Fprintf(
			t, "\n![%s: latency of every quick request over time, and what failed, with a mark at each switch](%s)\n",
			w.name, w.file,
		)
	}
	t.WriteString("\nEvery request, with its moment (counted from the one before it of the same client), its outcome and who answered: [comparison.csv.gz](comparison.csv.gz).\n")
}

func (s *strip) row(name string) string {
	var total, mixed time.Duration
	for _, turn := range s.turns {
		total += turn.over().Sub(turn.asked) / time.Duration(len(s.turns))
		mixed = max(mixed, turn.mixed())
	}
	var by [len(kinds)]int
	for _, r := range s.result.Failed() {
		by[kindOf(&r)]++
	}
	during, steady := quick(s.result.During(s.windows()...)).Latency(), quick(s.before()).Latency()
	return fmt.Sprintf("| %s | %d | **%d** | %d, %d, %d | %s | %s | %s | %.1f s | %s |\n", name, len(s.result.Records), len(s.result.Failed()), by[0], by[1], by[2],
		ms(steady.P99), ms(during.P99), ms(during.Max), total.Seconds(), ms(mixed))
}

func (c *comparison) memoryTable(t *strings.Builder) {
	t.WriteString(`
## Memory

Of all processes of each, superctl's daemon included: the sum of their proportional set sizes, the median before the first of these switches and
the most of all.

| | steady | peak | ratio |
|---|---|---|---|
`)
	for _, p := range c.played {
		if p.err == nil {
			steady, peak := float64(p.memory.steady)/1024, float64(p.memory.peak)/1024
			fmt.Fprintf(t, "| %s | %.0f MB | %.0f MB | %.1f |\n", p.name, steady, peak, peak/max(steady, 1))
		}
	}
}

func (c *comparison) brokenTable(t *strings.Builder) {
	fmt.Fprintf(t, `
## A broken release

The same command, with a release that cannot be imported, and with one that answers every request with 500. %d requests a second, each over a new
connection. What failed of the %d that were due in the first %.0f s; what the site was then, or when the command had returned; what it said; and
what brings the site back.

| | release | failed | the site | the command said | to come back |
|---|---|---|---|---|---|
`, visitRate, visitRate*int(watched.Seconds()), watched.Seconds())
	for _, d := range c.broken {
		if d.err != nil {
			fmt.Fprintf(t, "| %s | | not measured: %s ||||\n", d.name, oneLine(d.err))
			continue
		}
		for i, what := range []string{"cannot be imported", "answers 500"} {
			o := d.errs[i]
			said := "nothing"
			if o.said != nil {
				said = oneLine(o.said)
			}
			fmt.Fprintf(t, "| %s | %s | **%d** | %s | %s | %s |\n", d.name, what, len(o.failed), o.after, said, o.back)
		}
	}
}

func (c *comparison) workerTable(t *strings.Builder) {
	fmt.Fprintf(t, `
## A worker dies while a broken release lies on disk

`+"`current`"+` points to a release that cannot be imported, and no tool has been told to deploy it: a deploy that stopped half-way, or one that was
not reloaded yet. One worker is killed (the OOM killer does that), and %[1]d s later the others that have served until then;
what failed of the %[2]d requests that were due in the %[1]d s after each.

| | one killed: failed | the site | all killed: failed | the site |
|---|---|---|---|---|
`, int(watched.Seconds()), visitRate*int(watched.Seconds()))
	for _, b := range c.worker {
		if b.err != nil {
			fmt.Fprintf(t, "| %s | not measured: %s ||||\n", b.name, oneLine(b.err))
			continue
		}
		fmt.Fprintf(
			t, "| %s | **%d** | %s | **%d** | %s |\n", b.name, len(b.first.failed), b.first.after, len(b.rest.failed),
			b.rest.after,
		)
	}
}

func (c *comparison) killTable(t *strings.Builder) {
	fmt.Fprintf(t, `
## kill -9 of the one in charge

Each a service of %s with `+"`Restart=always`"+` and otherwise as its manual shows it; %d requests a second over new connections. The service's main
process (superctl's daemon, gunicorn's and uWSGI's master, supervisord, circusd) gets SIGKILL, %d times.

| | requests | **failed** | slowest | longest time without an answer | in charge again, median |
|---|---|---|---|---|---|
`, systemdVersion(), crashRate, kills)
	for _, k := range c.killed {
		if k.err != nil {
			fmt.Fprintf(t, "| %s | not measured: %s |||||\n", k.name, oneLine(k.err))
			continue
		}
		fmt.Fprintf(
			t, "| %s | %d | **%d** | %s | %s | %s |\n", k.name, len(k.result.Records), len(k.result.Failed()),
			ms(k.result.Latency().Max), ms(k.silent), median(k.takeovers),
		)
	}
}

// classes are how many failed in which way, on which kind of connection.
func classes(failed []load.Record) string {
	n := make(map[string]int)
	for _, r := range failed {
		n[r.Failure.String()]++
	}
	var parts []string
	for what, count := range n {
		parts = append(parts, fmt.Sprintf("%d %s", count, what))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// oneLine is an error in a cell of a table.
func oneLine(err error) string {
	text := strings.NewReplacer("\n", "; ", "|", "/").Replace(err.Error())
	return text[:min(len(text), 160)]
}

func ms(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

// median is the middle one, in words; nothing for none.
func median(took []time.Duration) string {
	if len(took) == 0 {
		return ""
	}
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%.1f ms", float64(took[len(took)/2].Microseconds())/1000)
}

func systemdVersion() string {
	out, err := exec.Command("systemctl", "--version").Output()
	if err != nil {
		return "systemd"
	}
	fields := strings.Fields(string(out))
	return strings.Join(fields[:min(2, len(fields))], " ")
}

// machine is what the figures depend on.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	pins := pinned(filepath.Join("e2e", "requirements.txt"), "django", "gunicorn", "uwsgi", "uvicorn")
	return fmt.Sprintf(
		"Linux %s, %d cores, %s; %s", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), runtime.Version(),
		strings.Join(pins, ", "),
	)
}

// pinned are the versions that a lock names.
func pinned(lock string, packages ...string) (versions []string) {
	pins, err := os.ReadFile(lock)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(pins)) {
		name, rest, pinned := strings.Cut(line, "==")
		version, _, _ := strings.Cut(rest, " ")
		if pinned && slices.Contains(packages, name) {
			versions = append(versions, name+" "+strings.TrimSpace(version))
		}
	}
	return versions
}

// versions are those of all that is compared.
func (c *comparison) versions() []string {
	list := append([]string{machine()}, pinned(filepath.Join("e2e", "requirements.txt"), "granian", "hypercorn")...)
	list = append(list, pinned(filepath.Join("bench", "requirements.txt"), "circus", "supervisor")...)
	if mod, err := os.ReadFile(filepath.Join("bench", "kamal", "go.mod")); err == nil {
		_, version, _ := strings.Cut(string(mod), "github.com/basecamp/kamal-proxy v")
		version, _, _ = strings.Cut(version, " ")
		list = append(list, "kamal-proxy "+version)
	}
	for _, p := range [][]string{{"Server::Starter", "start_server", "--version"}, {"", harness.NginxBinary(), "-v"}} {
		out, err := exec.Command(p[1], p[2]).CombinedOutput()
		if err == nil {
			_, text, _ := strings.Cut("/"+strings.TrimSpace(string(out)), "/")
			list = append(
				list,
				strings.TrimSpace(p[0]+" "+strings.ReplaceAll(strings.TrimPrefix(text, "nginx version: "), "/", " ")),
			)
		}
	}
	return append(list, systemdVersion())
}
