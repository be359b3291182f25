// Mutants breaks the supervisor on purpose, one mutation of mutations.txt at a time, and has the
// simulator play against each. What it finds, and what not, is written to RESULT.md next to this
// file. Run it with `make mutants`.
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
	seeds = "300" // that are played against each mutation
)

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
	found := 0
	var table strings.Builder
	for _, m := range all {
		if !chosen.MatchString(m.name) {
			continue
		}
		began := time.Now()
		file, by, err := play(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if by != "" {
			found++
		} else {
			by = "**not found**"
		}
		fmt.Printf("%3.0f s %-60s %s\n", time.Since(began).Seconds(), m.name, by)
		fmt.Fprintf(&table, "| %s | %s | %s |\n", m.name, file, strings.ReplaceAll(by, "|", "/"))
	}
	if only != "" {
		return nil
	}
	summary := fmt.Sprintf("# What the simulator finds\n\nThe simulator finds %d of %d mutations of the supervisor within its past failures and %s seeds. `make mutants` "+
		"writes this file.\n\n| what is broken | file | what the simulator says first |\n|---|---|---|\n", found, len(all), seeds)
	return os.WriteFile(filepath.Join(home, "RESULT.md"), []byte(summary+table.String()), 0o644)
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
	places, err := find(dir, m.function, m.old)
	if err != nil {
		return place{}, err
	}
	if len(places) != 1 {
		return place{}, fmt.Errorf("its pattern is in the source %d times, want once", len(places))
	}
	return places[0], nil
}

// play builds the tests with the mutation and runs the simulator; by is what it says is wrong, ""
// when nothing.
func play(ctx context.Context, m mutation) (file, by string, err error) {
	at, err := m.place()
	if err != nil {
		return "", "", err
	}
	file = filepath.Base(at.path)
	work, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(work)
	path, err := filepath.Abs(at.path)
	if err != nil {
		return "", "", err
	}
	mutant, overlay, binary := filepath.Join(work, "mutant.go"), filepath.Join(
		work, "overlay.json",
	), filepath.Join(work, "test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	if err != nil {
		return "", "", err
	}
	err = errors.Join(
		os.WriteFile(mutant, []byte(at.with(m.broken)), 0o600),
		os.WriteFile(overlay, replace, 0o600),
	)
	if err != nil {
		return "", "", err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("%w: %s", err, out)
	}
	test := exec.CommandContext(ctx, binary, "-test.run", "Simulation", "-test.timeout", "5m", "-test.failfast")
	test.Dir = dir
	test.Env = append(os.Environ(), "SEEDS="+seeds, "SHRINK=0")
	out, err := test.CombinedOutput()
	if err == nil {
		return file, "", nil
	}
	if wrong := regexp.MustCompile(`(?m)(?:WRONG: |panic: |deadlock)(.*)$`).FindString(string(out)); wrong != "" {
		return file, strings.TrimPrefix(wrong, "WRONG: "), nil
	}
	return file, "the run does not end: " + err.Error(), nil
}
