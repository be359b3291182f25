package cli

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/releases"
	"superctl/supervisor"
)

func (c *command) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "what was changed, by whom, and how it ended", UsageText: "superctl history [-n COUNT] [--output] [--json]",
		Description: `Shows the newest changes first, and what the end of an old generation has cost, if it cost anything.

   superctl history -n 3
   superctl history -n 1 --output    with what its hooks wrote`,
		Flags: []cli.Flag{
			jsonFlag(), &cli.IntFlag{Name: "n", Value: 20, Usage: "the newest `COUNT`; 0 = all"},
			&cli.BoolFlag{Name: "output", Usage: "show the last lines that hooks wrote"},
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			records, err := releases.History{Path: historyPath(conf)}.Read(cc.Int("n"))
			if err != nil {
				return err
			}
			if cc.Bool("json") {
				if records == nil {
					records = []json.RawMessage{}
				}
				return c.json(records)
			}
			return c.writeHistory(records, cc.Bool("output"))
		},
	}
}

func (c *command) writeHistory(records []json.RawMessage, output bool) error {
	if len(records) == 0 {
		fmt.Fprintln(c.stdout, "nothing has been changed yet")
		return nil
	}
	p := paletteFor(c.stdout)
	var t table
	t.row(p.dim("WHEN"), p.dim("WHAT"), p.dim("FROM"), p.dim("TO"), p.dim("OUTCOME"), p.dim("TOOK"), p.dim("WHO"))
	for _, data := range records {
		var o supervisor.Outcome
		if err := json.Unmarshal(data, &o); err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		result := string(o.Result)
		switch o.Result {
		case supervisor.Done:
			result = p.green(result)
		case supervisor.Aborted, supervisor.Reverted:
			result = p.red(result)
		}
		t.row(age(c.now(), o.Started), o.Kind, dash(o.Previous), dash(o.Release), result, seconds(o.Seconds), o.Who)
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
	t.write(c.stdout, "")
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
