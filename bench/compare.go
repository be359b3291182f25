package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"superctl/e2e/harness"
)

// options are the comparison's arguments.
type options struct {
	only     *regexp.Regexp
	parts    *regexp.Regexp
	switches int
	calm     time.Duration // of steady load before the first switch, and between two
	out      string
	tools    string // directory with the supervisors of bench/requirements.txt
	kamal    string // kamal-proxy
}

// published is the number of switches of each peer in a full comparison.
const published = 5

func compareOptions(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	run := f.String("run", "", "only the rows whose name matches this `REGEXP`")
	parts := f.String("parts", "", "only the parts whose name matches this `REGEXP`: switches, broken, worker, kill")
	f.IntVar(&o.switches, "switches", published, "switches of each peer")
	f.StringVar(
		&o.out, "out", "", "the `DIRECTORY` for the results; default: bench for a whole comparison, else a new one",
	)
	if err := f.Parse(args); err != nil {
		var usage strings.Builder
		f.SetOutput(&usage)
		f.PrintDefaults()
		return nil, fmt.Errorf("compare: %w\n%s", err, usage.String())
	}
	var err error
	if o.only, err = regexp.Compile(*run); err == nil {
		o.parts, err = regexp.Compile(*parts)
	}
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err == nil && o.switches < 1 {
		err = errors.New("-switches: use 1 or more")
	}
	o.calm = 2500 * time.Millisecond
	if err != nil || o.out != "" {
		return o, err
	}
	if o.out = "bench"; *run != "" || *parts != "" || o.switches < published {
		o.out, err = os.MkdirTemp("", "compare-") // what is published stays whole
	}
	return o, err
}

// comparison has the results of all measurements.
type comparison struct {
	o      *options
	began  time.Time
	played []played
	broken []deployed
	worker []workerKill
	killed []crash
}

// compare measures all peers and writes the results. The row of a peer that cannot be installed
// says why, and compare returns an error at the end.
func (o *options) compare(run *harness.Run) error {
	var err error
	if o.tools, err = deps("--peers"); err != nil {
		return err
	}
	if o.kamal, err = deps("--kamal-proxy"); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err) // its rows say so too
	}
	c := &comparison{o: o, began: time.Now()}
	for _, p := range []struct {
		name    string
		measure func(*harness.Run)
	}{{"switches", c.switches}, {"broken", c.breaks}, {"worker", c.workerKills}, {"kill", c.crashes}} {
		if o.parts.MatchString(p.name) {
			p.measure(run)
		}
	}
	fmt.Printf("%.0f s in all; %s\n", time.Since(c.began).Seconds(), filepath.Join(o.out, "COMPARISON.md"))
	return errors.Join(c.write(), c.failures())
}

// deps installs something by scripts/deps and returns its directory.
func deps(what string) (string, error) {
	cmd := exec.Command(filepath.Join("scripts", "deps"), what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/deps %s: %w", what, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// chosen returns the requested peers.
func (c *comparison) chosen() (list []peer) {
	for _, p := range c.o.peers() {
		if c.o.only.MatchString(p.name()) {
			list = append(list, p)
		}
	}
	return list
}

func (c *comparison) switches(run *harness.Run) {
	for _, p := range c.chosen() {
		s := &scene{run: run}
		out := c.o.play(s, p)
		s.end()
		c.played = append(c.played, out)
		fmt.Printf("%-32s", out.name)
		if out.err != nil {
			fmt.Printf(" %v\n", out.err)
			continue
		}
		for _, w := range out.strips {
			fmt.Printf(" %s: %d failed of %d;", w.way, len(w.result.Failed()), len(w.result.Records))
		}
		fmt.Printf(" %d MB, %d MB\n", out.memory.steady>>10, out.memory.peak>>10)
	}
}

// failures returns the errors of measurements that failed.
func (c *comparison) failures() (err error) {
	add := func(part, name string, failed error) {
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %s: %w", part, name, failed))
		}
	}
	for _, p := range c.played {
		add("switches", p.name, p.err)
	}
	for _, d := range c.broken {
		add("broken", d.name, d.err)
	}
	for _, b := range c.worker {
		add("worker", b.name, b.err)
	}
	for _, k := range c.killed {
		add("kill", k.name, k.err)
	}
	return err
}
