//go:build linux

package movecommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/cli/terminal"
	"superctl/plain"
	"superctl/setup"
	"superctl/supervisor/worker"
)

// initOutcome is what `init --json` prints.
type initOutcome struct {
	App      string       `json:"app"`
	Project  string       `json:"project"`
	Changed  bool         `json:"changed"` // by this command
	Facts    []setup.Fact `json:"facts"`
	Warnings []string     `json:"warnings"`
	Imported []setup.Line `json:"imported,omitempty"` // what became of each line of --from
	Files    []initFile   `json:"files"`
	Before   []string     `json:"before"` // commands before the files are written
	After    []string     `json:"after"`
	Next     []string     `json:"next"`
	Error    string       `json:"error,omitempty"`
}

// initFile is a file of the plan.
type initFile struct {
	Path    string `json:"path"`
	Change  string `json:"change"` // "create", "replace" or "none"
	Diff    string `json:"diff,omitempty"`
	Content string `json:"content,omitempty"` // without the values of secrets
}

// conclude shows the plan, and does it if that is wanted.
func (s *setUp) conclude(ctx context.Context, dir string, d *setup.Decision, plan *setup.Plan) error {
	apply, json := s.cc.Bool("apply"), s.cc.Bool("json")
	if !json {
		s.print().imported(s.from)
		s.print().initPlan(dir, d, plan)
	}
	var err error
	switch {
	case plan.Empty() || !apply:
	case os.Geteuid() != 0:
		err = errors.New("--apply needs root: run it with sudo")
	default:
		err = plan.Apply(ctx, s.cc.Bool("replace"), asRoot, func(text string) {
			if !json {
				fmt.Fprintf(s.Stdout, "%s %s\n", terminal.PaletteFor(s.Stdout).Green("did"), text)
			}
		})
	}
	done := apply && err == nil
	if json {
		out := outcomeOfInit(dir, d, plan)
		if s.from != nil {
			out.Imported = s.from.Lines
		}
		out.Changed = done && !plan.Empty()
		if err != nil {
			out.Error = err.Error()
		}
		err = errors.Join(err, s.JSON(out))
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if !json {
		s.print().initEnd(shellquote.Join(slices.Concat(os.Args[1:], s.asked, []string{"--apply"})...), plan, done)
	}
	return nil
}

// asRoot runs a command of a plan.
func asRoot(ctx context.Context, args []string, line func(string)) error {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	return worker.Run(ctx, worker.Command{Args: args, Env: env, Dir: "/"}, line)
}

func outcomeOfInit(dir string, d *setup.Decision, plan *setup.Plan) *initOutcome {
	out := &initOutcome{
		App: plan.App, Project: dir, Facts: d.Facts, Warnings: append([]string{}, d.Warnings...), Files: filesOf(plan),
		Before: texts(plan.Before), After: texts(plan.After), Next: texts(plan.Next),
	}
	return out
}

// filesOf returns the files of a plan, without the values of secrets.
func filesOf(plan *setup.Plan) []initFile {
	out := []initFile{}
	for _, f := range plan.Files {
		one := initFile{Path: f.Path, Change: "none", Diff: f.Diff(), Content: f.Content}
		switch {
		case f.Secret && f.Exists:
			one.Content = ""
		case f.Secret:
			one.Content = f.Shown
		}
		switch {
		case f.Replaces():
			one.Change = "replace"
		case f.Changed():
			one.Change = "create"
		}
		out = append(out, one)
	}
	return out
}

func texts(list []setup.Command) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, c.String())
	}
	return out
}

// initPlan prints what was found, and the plan.
func (pr printer) initPlan(dir string, d *setup.Decision, plan *setup.Plan) {
	p := terminal.PaletteFor(pr.Stdout)
	if dir != "" || len(d.Facts) > 0 {
		fmt.Fprintf(pr.Stdout, "%s in %s:\n", p.Bold("Found"), cmp.Or(dir, "the file"))
	}
	for _, f := range d.Facts {
		value := f.Value
		if f.Guess {
			value += " (a guess)"
		}
		fmt.Fprintf(pr.Stdout, "   %-16s %-34s %s\n", f.Name, plain.Line(value), p.Dim(plain.Line(f.Source)))
	}
	for _, w := range d.Warnings {
		fmt.Fprintf(pr.Stdout, "%s %s\n", p.Yellow("warning:"), plain.Line(w))
	}
	if plan.Empty() {
		return
	}
	fmt.Fprintf(pr.Stdout, "\n%s for the app %s:\n", p.Bold("Plan"), plan.App)
	pr.initCommands(plan.Before)
	pr.planFiles(plan)
	pr.initCommands(plan.After)
}

// planFiles prints how the files of a plan change.
func (pr printer) planFiles(plan *setup.Plan) {
	for _, f := range plan.Files {
		pr.diff(f.Diff())
	}
}

// diff prints a unified diff.
func (pr printer) diff(text string) {
	p := terminal.PaletteFor(pr.Stdout)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "+"):
			line = p.Green(line)
		case strings.HasPrefix(line, "-"):
			line = p.Red(line)
		}
		fmt.Fprintln(pr.Stdout, line)
	}
}

func (pr printer) initCommands(list []setup.Command) {
	for _, c := range list {
		text := "   " + c.String()
		if c.Why != "" {
			text += terminal.PaletteFor(pr.Stdout).Dim("   # " + c.Why)
		}
		fmt.Fprintln(pr.Stdout, text)
	}
}

// initEnd prints what comes next; apply is the command line that does the plan.
func (pr printer) initEnd(apply string, plan *setup.Plan, done bool) {
	p := terminal.PaletteFor(pr.Stdout)
	switch {
	case plan.Empty():
		fmt.Fprintf(pr.Stdout, "%s: %s. Next:\n", plan.App, p.Green("nothing to do"))
	case !done:
		fmt.Fprintf(pr.Stdout, "\nNothing was changed. To do this, as root: superctl %s\n", apply)
		return
	default:
		fmt.Fprintf(pr.Stdout, "%s: %s. Next:\n", plan.App, p.Green("set up"))
	}
	pr.initCommands(plan.Next)
}
