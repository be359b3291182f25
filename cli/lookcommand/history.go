//go:build linux

package lookcommand

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/releases"
)

// History is the command superctl history.
func History(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "history", Usage: "show past changes, their outcome, and who made them",
		UsageText: "superctl history [-n COUNT] [--output] [--wide] [--json] | superctl history show [NUMBER] [--json]",
		Description: `Lists the changes, the newest first, with warnings such as requests cut at the drain limit. Each
change keeps its number; "show" prints one change in full, by default the newest. WHO is the user as
the kernel reports it and, behind sudo, the user who logged in. The host, and "sudo by" where the
daemon cannot see the login user (ProtectProc= in its unit), are claims of the client.

   superctl history -n 3
   superctl history -n 1 --output    with the output of its hooks
   superctl history show 12          every step, hook output, log lines, commits, user and host`,
		Flags: []cli.Flag{
			commandline.JSONFlag(), commandline.WideFlag(), &cli.IntFlag{
				Name: "n", Value: 20, Usage: "list the newest `COUNT` changes; 0 = all",
			},
			&cli.BoolFlag{Name: "output", Usage: "show the last lines of the hooks' output"},
		},
		Action: c.history,
	}
}

func (c *command) history(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 2); err != nil {
		return err
	}
	number, one, err := parseRecord(cc.Args().Slice())
	if err != nil {
		return &commandline.UsageError{Err: err}
	}
	if cc.Int("n") < 0 {
		return commandline.Usagef("history: -n %d: use 1 or more, or 0 for all", cc.Int("n"))
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	history := releases.History{Path: conf.HistoryPath()}
	if one {
		return c.print().record(history, number, cc.Bool("json"))
	}
	records, err := history.Read(cc.Int("n"))
	if err != nil {
		return err
	}
	if cc.Bool("json") {
		if records == nil {
			records = []releases.Record{}
		}
		return c.JSON(records)
	}
	return c.print().history(cc, records)
}

// parseRecord parses `show NUMBER`. Without a number it returns 0, the newest change.
func parseRecord(words []string) (number int, one bool, err error) {
	if len(words) == 0 {
		return 0, false, nil
	}
	if words[0] != "show" {
		return 0, false, fmt.Errorf(
			"history: unexpected argument %q: to show one change, run superctl history show NUMBER", words[0],
		)
	}
	if len(words) == 1 {
		return 0, true, nil
	}
	number, err = strconv.Atoi(words[1])
	if err != nil || number < 1 {
		return 0, false, fmt.Errorf("history show: invalid number %q: superctl history lists the changes", words[1])
	}
	return number, true, nil
}

// history prints one line for each change, and its error and warnings below it. A warning of many
// changes, such as one of the config, is shown at the newest of them.
func (pr printer) history(cc *cli.Context, records []releases.Record) error {
	output := cc.Bool("output")
	if len(records) == 0 {
		fmt.Fprintln(pr.Stdout, "no changes yet")
		return nil
	}
	p := terminal.PaletteFor(pr.Stdout)
	var t terminal.Table
	t.Head(p, "NUMBER", "AGE", "CHANGE", "FROM", "TO", "COMMITS", "OUTCOME", "DURATION", "WHO")
	shown := make(map[string]bool)
	for _, r := range records {
		number := strconv.Itoa(r.Number)
		var o api.Outcome
		if err := json.Unmarshal(r.Data, &o); err != nil {
			t.Row(number, p.Red("unreadable record: "+err.Error()))
			continue
		}
		t.Row(
			number, terminal.Age(pr.Now(), o.Started), ChangeName(&o), terminal.Dash(o.Previous), terminal.Dash(o.Release),
			terminal.Dash(commits(&o)), resultText(p, o.Result), terminal.Seconds(o.Seconds), byWhom(&o),
		)
		if o.Error != "" {
			t.Row("", "  "+p.Red(o.Error))
		}
		for _, w := range o.Warnings {
			if !shown[w] {
				t.Row("", "  "+p.Yellow(w))
			}
			shown[w] = true
		}
		if output {
			outputRows(&t, p, &o)
		}
	}
	t.DropEmpty()
	out := pr.NewText(cc)
	t.Write(out, "")
	_, err := pr.Stdout.Write(out.Bytes())
	return err
}

// outputRows adds what the commands of a change have written.
func outputRows(t *terminal.Table, p terminal.Palette, o *api.Outcome) {
	for _, step := range o.Steps {
		for _, line := range step.Output {
			t.Row("", "  "+p.Dim(step.Name+" |")+" "+line)
		}
	}
}

// byWhom returns who requested a change, and the run that it belonged to.
func byWhom(o *api.Outcome) string {
	if o.Run == "" {
		return o.By(o.Who)
	}
	return o.By(o.Who) + ", run " + o.Run
}

func resultText(p terminal.Palette, r api.Result) string {
	switch r {
	case api.Done:
		return p.Green(string(r))
	case api.Aborted, api.Reverted:
		return p.Red(string(r))
	}
	return string(r)
}

// commits returns the commits of a change as a range for git log, or one commit if the change
// stayed on it.
func commits(o *api.Outcome) string {
	const digits = 8
	from, to := o.PreviousCommit[:min(digits, len(o.PreviousCommit))], o.Commit[:min(digits, len(o.Commit))]
	switch {
	case o.PreviousCommit == o.Commit, from == "":
		return to
	case to == "":
		return from + ".."
	}
	return from + ".." + to
}

// record prints one change in full.
func (pr printer) record(history releases.History, number int, asJSON bool) error {
	if number == 0 {
		_, newest, err := history.Find(0)
		if err != nil && !errors.Is(err, releases.ErrNoRecord) {
			return err
		}
		if number = newest; newest == 0 {
			return errors.New("no changes yet")
		}
	}
	record, newest, err := history.Find(number)
	switch {
	case errors.Is(err, releases.ErrNoRecord) && newest == 0:
		return errors.New("no changes yet")
	case errors.Is(err, releases.ErrNoRecord):
		return fmt.Errorf("no change %d: the newest is %d (superctl history lists the changes)", number, newest)
	case err != nil:
		return err
	case asJSON:
		return pr.JSON(record)
	}
	var o api.Outcome
	if err := json.Unmarshal(record.Data, &o); err != nil {
		return fmt.Errorf("change %d: unreadable record: %w", number, err)
	}
	pr.recordText(number, &o)
	return nil
}

func (pr printer) recordText(number int, o *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	terminal.Prose(pr.Stdout, "%s: %s", p.Bold(fmt.Sprintf("change %d", number)), resultText(p, o.Result))
	var t terminal.Table
	line := func(name, text string) {
		if text != "" {
			t.Row(p.Dim(name), text)
		}
	}
	line("change", ChangeName(o))
	line("from", terminal.WithCommit(o.Previous, o.PreviousCommit))
	line("to", terminal.WithCommit(o.Release, o.Commit))
	line("commits", fullRange(o))
	line("who", o.By(o.Who)+peerText(o.Peer))
	line("run", o.Run)
	line("started", o.Started.Local().Format("2006-01-02 15:04:05 -0700")+" ("+terminal.Age(pr.Now(), o.Started)+")")
	line("duration", terminal.Seconds(o.Seconds))
	if o.Generation != 0 {
		line("generation", strconv.Itoa(o.Generation))
	}
	line("reason", p.Red(o.Error))
	for _, w := range o.Warnings {
		line("warning", p.Yellow(w))
	}
	t.Write(pr.Stdout, "  ")
	pr.steps(o, p)
	if len(o.Traffic) > 0 {
		fmt.Fprintln(pr.Stdout)
		WriteTraffic(pr.Stdout, o, "  ")
	}
	if len(o.Log) > 0 {
		terminal.Prose(pr.Stdout, "\n  the last lines of the %s:", cmp.Or(o.Culprit, api.Worker))
		for _, l := range o.Log {
			fmt.Fprintf(pr.Stdout, "    %s %s\n", p.Dim("|"), l)
		}
	}
}

// steps prints each step with its start and duration, and the output of its commands below it.
func (pr printer) steps(o *api.Outcome, p terminal.Palette) {
	if len(o.Steps) == 0 {
		return
	}
	fmt.Fprintln(pr.Stdout)
	var t terminal.Table
	t.Head(p, "STEP", "START", "DURATION", "DETAIL")
	for _, s := range o.Steps {
		t.Row(s.Name, s.Began.Local().Format("15:04:05.000"), terminal.Seconds(s.Seconds), s.Detail)
		for _, l := range s.Output {
			t.Row("", "", p.Dim("|"), l)
		}
	}
	t.Write(pr.Stdout, "  ")
}

// ChangeName returns the kind of a change, as a person types it.
func ChangeName(o *api.Outcome) string { return strings.TrimSpace(o.Kind + " " + o.Maintenance) }

// fullRange returns the commits of a change as a range for git log with full hashes, or "" if there
// is no range.
func fullRange(o *api.Outcome) string {
	if o.Commit == "" || o.PreviousCommit == "" || o.Commit == o.PreviousCommit {
		return ""
	}
	return o.PreviousCommit + ".." + o.Commit
}

// peerText returns text for the requester as the kernel reports it.
func peerText(peer *api.Peer) string {
	if peer == nil {
		return ""
	}
	text := fmt.Sprintf(" (uid %d, pid %d", peer.UID, peer.PID)
	if peer.Login != nil {
		text += fmt.Sprintf(", logged in as uid %d", *peer.Login)
	}
	return text + ")"
}
