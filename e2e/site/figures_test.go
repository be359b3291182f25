package site

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

// figures is a table of results in a Markdown file. A run replaces only the rows that it measures.
type figures struct {
	path, commit string // "" = no table wanted

	mu sync.Mutex // for the file
}

// openFigures opens the table for `make switches`.
func openFigures() *figures {
	return &figures{path: os.Getenv("SUPERCTL_SWITCHES_TABLE"), commit: os.Getenv("SUPERCTL_SWITCHES_COMMIT")}
}

const figuresHead = "| server | way | switches | requests | over kept connections | failed | commit |\n|---|---|---|---|---|---|---|\n"

// add writes a row, and replaces an earlier row of the same server and way.
func (f *figures) add(t *testing.T, s harness.Server, w way, switches int, res *load.Result) error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	before, table, _ := strings.Cut(string(old), figuresHead)
	rows := make(map[string]string)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) > 2 {
			rows[cells[0]+" | "+cells[1]] = line
		}
	}
	key := "| " + s.Name + " | " + w.String()
	rows[key] = fmt.Sprintf(
		"%s | %d | %d | %d | %s | %s |\n", key, switches, len(res.Records), len(res.Reused().Records), lost(res),
		f.commit,
	)
	var b strings.Builder
	b.WriteString(before + figuresHead)
	for _, s := range everyServer(t) {
		for _, w := range ways(s) {
			b.WriteString(rows["| "+s.Name+" | "+w.String()])
		}
	}
	return os.WriteFile(f.path, []byte(b.String()), 0o644)
}

// lost returns text for the failed requests: their number, their kinds, and how many of them were
// on a kept-alive connection.
func lost(res *load.Result) string {
	failed := res.Failed()
	if len(failed) == 0 {
		return "0"
	}
	var kinds []string
	for kind, n := range res.Count() {
		if kind != load.None {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
		}
	}
	slices.Sort(kinds)
	return fmt.Sprintf(
		"**%d**: %s; %d over kept connections", len(failed), strings.Join(kinds, ", "), len(res.Reused().Failed()),
	)
}
