package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/releases"
)

func (c *command) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "what was changed, by whom, and how it ended",
		UsageText: "superctl history [-n COUNT] [--output] [--wide] [--json] | superctl history show [NUMBER] [--json]",
		Description: `Shows the newest changes first, and what the end of an old generation has cost, if it cost anything.
Each has a number, which it keeps; "show" has all of one, or of the newest. Who has asked is the kernel's word: the
user, and behind sudo the person who has logged in. From where, and "sudo by" where the daemon may not see who has
logged in (ProtectProc= of its unit), is what the client has said.

   superctl history -n 3
   superctl history -n 1 --output    with what its hooks wrote
   superctl history show 12          every step, hooks' output, log lines, commits, who and from where`,
		Flags: []cli.Flag{
			jsonFlag(), wideFlag(), &cli.IntFlag{Name: "n", Value: 20, Usage: "the newest `COUNT`; 0 = all"},
			&cli.BoolFlag{Name: "output", Usage: "show the last lines that hooks wrote"},
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 2); err != nil {
				return err
			}
			number, one, err := recordWanted(cc.Args().Slice())
			if err != nil {
				return &usageError{err}
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			history := releases.History{Path: conf.HistoryPath()}
			if one {
				return c.showRecord(history, number, cc.Bool("json"))
			}
			records, err := history.Read(cc.Int("n"))
			if err != nil {
				return err
			}
			if cc.Bool("json") {
				if records == nil {
					records = []releases.Record{}
				}
				return c.json(records)
			}
			return c.writeHistory(cc, records)
		},
	}
}

// recordWanted reads `show NUMBER`; without a number it is 0, the newest.
func recordWanted(words []string) (number int, one bool, err error) {
	if len(words) == 0 {
		return 0, false, nil
	}
	if words[0] != "show" {
		return 0, false, fmt.Errorf(
			"history: unexpected argument %q: superctl history show NUMBER shows one change", words[0],
		)
	}
	if len(words) == 1 {
		return 0, true, nil
	}
	number, err = strconv.Atoi(words[1])
	if err != nil || number < 1 {
		return 0, false, fmt.Errorf("history show: %q is no number of a change; superctl history lists them", words[1])
	}
	return number, true, nil
}

// writeHistory shows one line for each change, and what went wrong.
func (c *command) writeHistory(cc *cli.Context, records []releases.Record) error {
	output := cc.Bool("output")
	if len(records) == 0 {
		fmt.Fprintln(c.stdout, "nothing has been changed yet")
		return nil
	}
	p := paletteFor(c.stdout)
	var t table
	t.row(
		p.dim("NUMBER"), p.dim("WHEN"), p.dim("WHAT"), p.dim("FROM"), p.dim("TO"), p.dim("COMMITS"), p.dim("OUTCOME"),
		p.dim("TOOK"), p.dim("WHO"),
	)
	for _, r := range records {
		number := strconv.Itoa(r.Number)
		var o api.Outcome
		if err := json.Unmarshal(r.Data, &o); err != nil {
			t.row(number, p.red("it cannot be read: "+err.Error()))
			continue
		}
		t.row(
			number, age(c.now(), o.Started), o.Kind, dash(o.Previous), dash(o.Release), dash(commits(&o)),
			resultText(p, o.Result), seconds(o.Seconds), o.By(o.Who),
		)
		if o.Error != "" {
			t.row("", "  "+p.red(o.Error))
		}
		for _, w := range o.Warnings {
			t.row("", "  "+p.yellow(w))
		}
		for _, step := range o.Steps {
			for i := 0; output && i < len(step.Output); i++ {
				t.row("", "  "+p.dim(step.Name+" |")+" "+step.Output[i])
			}
		}
	}
	out := c.fit(cc)
	t.write(out, "")
	_, err := c.stdout.Write(out.Bytes())
	return err
}

func resultText(p palette, r api.Result) string {
	switch r {
	case api.Done:
		return p.green(string(r))
	case api.Aborted, api.Reverted:
		return p.red(string(r))
	}
	return string(r)
}

// commits is the range of commits that a change went over, as git log takes it; one commit when it
// went over none.
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

// showRecord shows all that is known of one change.
func (c *command) showRecord(history releases.History, number int, asJSON bool) error {
	if number == 0 {
		_, newest, err := history.Find(0)
		if err != nil && !errors.Is(err, releases.ErrNoRecord) {
			return err
		}
		if number = newest; newest == 0 {
			return errors.New("nothing has been changed yet")
		}
	}
	record, newest, err := history.Find(number)
	switch {
	case errors.Is(err, releases.ErrNoRecord) && newest == 0:
		return errors.New("nothing has been changed yet")
	case errors.Is(err, releases.ErrNoRecord):
		return fmt.Errorf("there is no change %d: the newest is %d (superctl history lists them)", number, newest)
	case err != nil:
		return err
	case asJSON:
		return c.json(record)
	}
	var o api.Outcome
	if err := json.Unmarshal(record.Data, &o); err != nil {
		return fmt.Errorf("change %d cannot be read: %w", number, err)
	}
	c.writeRecord(number, &o)
	return nil
}

func (c *command) writeRecord(number int, o *api.Outcome) {
	p := paletteFor(c.stdout)
	fmt.Fprintf(c.stdout, "%s: %s\n", p.bold(fmt.Sprintf("change %d", number)), resultText(p, o.Result))
	var t table
	line := func(name, text string) {
		if text != "" {
			t.row(p.dim(name), text)
		}
	}
	line("what", o.Kind)
	line("from", withCommit(o.Previous, o.PreviousCommit))
	line("to", withCommit(o.Release, o.Commit))
	line("commits", fullRange(o))
	line("who", o.By(o.Who)+peerText(o.Peer))
	line(
		"when",
		fmt.Sprintf(
			"%s (%s), %s long", o.Started.Local().Format("2006-01-02 15:04:05 -0700"), age(c.now(), o.Started),
			seconds(o.Seconds),
		),
	)
	if o.Generation != 0 {
		line("generation", strconv.Itoa(o.Generation))
	}
	line("reason", p.red(o.Error))
	for _, w := range o.Warnings {
		line("warning", p.yellow(w))
	}
	t.write(c.stdout, "  ")
	c.writeSteps(o, p)
	if len(o.Log) > 0 {
		fmt.Fprintln(c.stdout, "\n  the last lines of what failed:")
		for _, l := range o.Log {
			fmt.Fprintf(c.stdout, "    %s %s\n", p.dim("|"), l)
		}
	}
}

// writeSteps shows each step with its time, and below it what its commands wrote.
func (c *command) writeSteps(o *api.Outcome, p palette) {
	if len(o.Steps) == 0 {
		return
	}
	fmt.Fprintln(c.stdout)
	var t table
	t.row(p.dim("STEP"), p.dim("BEGAN"), p.dim("TOOK"), p.dim("WHAT IT DID"))
	for _, s := range o.Steps {
		t.row(s.Name, s.Began.Local().Format("15:04:05.000"), seconds(s.Seconds), s.Detail)
		for _, l := range s.Output {
			t.row("", "", p.dim("|"), l)
		}
	}
	t.write(c.stdout, "  ")
}

// withCommit is a release with its commit.
func withCommit(release, commit string) string {
	if commit == "" {
		return release
	}
	return release + " (" + short(commit) + ")"
}

// fullRange is a range of commits in full, for git log.
func fullRange(o *api.Outcome) string {
	if o.Commit == "" || o.PreviousCommit == "" || o.Commit == o.PreviousCommit {
		return ""
	}
	return o.PreviousCommit + ".." + o.Commit
}

// peerText is the kernel's word on who asked.
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

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
