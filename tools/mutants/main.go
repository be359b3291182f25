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
)

const (
	home  = "mutants"
	dir   = "../supervisor"
	seeds = "300" // that are played against each mutation
)

// mutation is one thing that is broken.
type mutation struct{ name, file, old, broken string }

func main() {
	checkOnly := flag.Bool("check", false, "only see whether each mutation still fits the source")
	flag.Parse()
	if err := run(context.Background(), *checkOnly); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, checkOnly bool) error {
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
		by, err := play(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if by != "" {
			found++
		} else {
			by = "**not found**"
		}
		fmt.Printf("%-60s %s\n", m.name, by)
		fmt.Fprintf(&table, "| %s | %s | %s |\n", m.name, m.file, strings.ReplaceAll(by, "|", "/"))
	}
	summary := fmt.Sprintf("# What the simulator finds\n\nThe simulator finds %d of %d mutations of the supervisor within its past failures and %s seeds. `make mutants` "+
		"writes this file.\n\n| what is broken | file | what the simulator says first |\n|---|---|---|\n", found, len(all), seeds)
	return os.WriteFile(filepath.Join(home, "RESULT.md"), []byte(summary+table.String()), 0o644)
}

// parse reads mutations: a name after ===, a file after ---, the text that is there, and after +++
// what takes its place.
func parse(text string) (all []mutation) {
	for _, part := range strings.Split(text, "\n=== ")[1:] {
		name, rest, _ := strings.Cut(part, "\n--- ")
		file, rest, _ := strings.Cut(rest, "\n")
		old, broken, _ := strings.Cut(rest, "\n+++\n")
		all = append(all, mutation{name, file, old, strings.TrimRight(broken, "\n")})
	}
	return all
}

// fit returns an error that names each mutation whose text is not in its file exactly once.
func fit(all []mutation) error {
	var errs []error
	for _, m := range all {
		if _, err := m.source(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

// source returns the file that the mutation is of.
func (m mutation) source() (string, error) {
	source, err := os.ReadFile(filepath.Join(dir, m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("its text is in %s %d times, want once", m.file, n)
	}
	return string(source), nil
}

// play builds the tests with the mutation and runs the simulator; by is what it says is wrong, ""
// when nothing.
func play(ctx context.Context, m mutation) (by string, err error) {
	work, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	path, err := filepath.Abs(filepath.Join(dir, m.file))
	if err != nil {
		return "", err
	}
	source, err := m.source()
	if err != nil {
		return "", err
	}
	mutant, overlay, binary := filepath.Join(work, "mutant.go"), filepath.Join(
		work, "overlay.json",
	), filepath.Join(work, "test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	if err != nil {
		return "", err
	}
	err = errors.Join(
		os.WriteFile(mutant, []byte(strings.Replace(source, m.old, m.broken, 1)), 0o600),
		os.WriteFile(overlay, replace, 0o600),
	)
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	test := exec.CommandContext(ctx, binary, "-test.run", "Simulation", "-test.timeout", "5m", "-test.failfast")
	test.Dir = dir
	test.Env = append(os.Environ(), "SEEDS="+seeds, "SHRINK=0")
	out, err := test.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if wrong := regexp.MustCompile(`(?m)(?:WRONG: |panic: |deadlock)(.*)$`).FindString(string(out)); wrong != "" {
		return strings.TrimPrefix(wrong, "WRONG: "), nil
	}
	return "the run does not end: " + err.Error(), nil
}
