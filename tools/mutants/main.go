// Mutants breaks the supervisor on purpose, one mutation of mutations.txt at a time, and has the
// simulator play against each. What it does not find, the other tests of the broken package are to find.
// The result is written to RESULT.md next to this file. Run it with `make mutants`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	home  = "mutants"
	dir   = "../supervisor"
	rules = dir + "/guard" // of the guard, which the supervisor and so the simulator use
	seeds = "300"          // that are played against each mutation
)

// packages are the directories of the packages that are broken.
func packages() []string { return []string{dir, rules} }

// mutation is one thing that is broken: a pattern, in a function or, with "", anywhere, and what takes
// its place.
type mutation struct{ name, function, old, broken string }

func main() {
	checkOnly := flag.Bool("check", false, "only see whether each mutation still fits the source")
	only := flag.String("only", "", "play only those whose names match this `pattern`, and do not write RESULT.md")
	flag.Parse()
	if err := run(context.Background(), *checkOnly, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, checkOnly bool, only string) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(home, "mutations.txt"))
	if err != nil {
		return err
	}
	all := parse(string(text))
	if checkOnly {
		return fit(all)
	}
	work, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	files, apart, err := sources(all)
	if err != nil {
		return err
	}
	tests, err := build(ctx, work, files)
	if err != nil {
		return err
	}
	fmt.Printf("%d of %d mutations are in one build\n", len(all)-len(apart), len(all))
	table, n, err := playAll(ctx, all, chosen, tests, apart)
	if err != nil || only != "" {
		return err
	}
	summary := fmt.Sprintf("# What the simulator finds\n\nThe simulator finds %d of %d mutations of the supervisor within its past failures and %s seeds, or, "+
		"where a test is named, that test does. `make mutants` writes this file.\n\n"+
		"| what is broken | file | what the simulator says first |\n|---|---|---|\n", n, len(all), seeds)
	return os.WriteFile(filepath.Join(home, "RESULT.md"), []byte(summary+table), 0o644)
}

// playAll plays the mutations whose names match, and returns the rows of the table and how many were found.
func playAll(ctx context.Context, all []mutation, chosen *regexp.Regexp, tests built, apart map[int]bool) (
	rows string, n int, err error,
) {
	for i, m := range all {
		if !chosen.MatchString(m.name) {
			continue
		}
		began := time.Now()
		file, by, err := m.play(ctx, tests, i+1, apart[i+1])
		if err != nil {
			return "", 0, fmt.Errorf("%s: %w", m.name, err)
		}
		if by != "" {
			n++
		} else {
			by = "**not found**"
		}
		fmt.Printf("%3.0f s %-60s %s\n", time.Since(began).Seconds(), m.name, by)
		rows += fmt.Sprintf("| %s | %s | %s |\n", m.name, file, strings.ReplaceAll(by, "|", "/"))
	}
	return rows, n, nil
}

// parse reads mutations: a name after ===, a function or nothing after ---, the pattern, and after +++
// what takes its place.
func parse(text string) (all []mutation) {
	for _, part := range strings.Split(text, "\n=== ")[1:] {
		name, rest, _ := strings.Cut(part, "\n---")
		function, rest, _ := strings.Cut(rest, "\n")
		old, broken, _ := strings.Cut(rest, "\n+++\n")
		all = append(all, mutation{name, strings.TrimSpace(function), old, strings.TrimRight(broken, "\n")})
	}
	return all
}

// fit returns an error that names each mutation whose pattern is not in the source exactly once.
func fit(all []mutation) error {
	var errs []error
	for _, m := range all {
		if _, err := m.place(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

// place is where the mutation is.
func (m mutation) place() (place, error) {
	places, err := find(m.function, m.old)
	if err != nil {
		return place{}, err
	}
	if len(places) != 1 {
		return place{}, fmt.Errorf("its pattern is in the source %d times, want once", len(places))
	}
	return places[0], nil
}

// built is the tests of the packages with other sources.
type built struct{ binary, overlay string }

// build builds the tests of the supervisor with other sources.
func build(ctx context.Context, work string, files map[string]string) (b built, err error) {
	places, err := write(work, files)
	if err != nil {
		return b, err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": places})
	if err != nil {
		return b, err
	}
	b = built{binary: filepath.Join(work, "test"), overlay: filepath.Join(work, "overlay.json")}
	if err := os.WriteFile(b.overlay, replace, 0o600); err != nil {
		return b, err
	}
	tests := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", b.overlay, "-o", b.binary, ".")
	tests.Dir = dir
	if out, err := tests.CombinedOutput(); err != nil {
		return b, fmt.Errorf("%w: %s", err, out)
	}
	return b, nil
}

// commands are the tests to run against a mutation in a package, one after the other: first those that take
// a short time.
func (b built) commands(ctx context.Context, broken string) (list []*exec.Cmd) {
	ofSupervisor := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, b.binary, append(args, "-test.timeout", "5m", "-test.failfast")...)
		c.Dir = dir
		return c
	}
	list = append(list, ofSupervisor("-test.run", "TestPastFailures"))
	if broken == rules {
		c := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-overlay", b.overlay, ".")
		c.Dir = rules
		list = append(list, c)
	}
	list = append(list, ofSupervisor("-test.run", "TestSimulation$"))
	if broken == dir {
		list = append(list, ofSupervisor("-test.skip", "TestSimulation$|TestPastFailures|TestASeedGives"))
	}
	return list
}

// firstWrong matches what a run says first that is wrong.
var firstWrong = regexp.MustCompile(`(?m)(?:WRONG: |panic: |deadlock)(.*)$|--- FAIL: \S+`)

// simulated matches the line of a test of the simulator that has failed; another line says why.
var simulated = regexp.MustCompile(`(?m)^ *--- FAIL: Test(Simulation|PastFailures).*\n`)

// play runs the tests against a mutation, which is that number in b, or in none; by is what they say is
// wrong, "" when nothing.
func (m mutation) play(ctx context.Context, b built, number int, apart bool) (file, by string, err error) {
	at, err := m.place()
	if err != nil {
		return "", "", err
	}
	file = filepath.Base(at.path)
	if apart {
		work, err := os.MkdirTemp("", "mutant")
		if err != nil {
			return "", "", err
		}
		defer os.RemoveAll(work)
		if b, err = build(ctx, work, map[string]string{at.path: at.with(m.broken)}); err != nil {
			return "", "", err
		}
	}
	for _, test := range b.commands(ctx, filepath.Dir(at.path)) {
		test.Env = append(os.Environ(), "SEEDS="+seeds, "SHRINK=0", fmt.Sprint("MUTANT=", number))
		out, err := test.CombinedOutput()
		if err == nil {
			continue
		}
		if wrong := firstWrong.FindString(simulated.ReplaceAllString(string(out), "")); wrong != "" {
			return file, strings.TrimPrefix(strings.TrimPrefix(wrong, "WRONG: "), "--- FAIL: "), nil
		}
		return file, "the run does not end: " + err.Error(), nil
	}
	return file, "", nil
}
