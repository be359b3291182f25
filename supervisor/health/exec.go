package health

import (
	"context"
	"strings"
	"time"
	"unicode"
)

// lastLineLimit is how much of a command's last line is in the reason.
const lastLineLimit = 200

// Exec runs the check's command once; exit code 0 is healthy. A command that fails may have met a worker that is still
// starting, so its end is no answer.
func (c Check) Exec(ctx context.Context, run func(ctx context.Context, argv []string, line func(string)) error) Result {
	began := time.Now()
	ctx, cancel := c.limit(ctx)
	defer cancel()
	last := ""
	err := run(ctx, c.Command, func(line string) {
		if line = printable(line); line != "" {
			last = line
		}
	})
	r := Result{OK: err == nil, Took: time.Since(began)}
	if err == nil {
		return r
	}
	r.Reason = "health check " + strings.Join(c.Command, " ") + ": "
	switch {
	case ctx.Err() != nil:
		r.Reason += c.unfinished(ctx)
	case last != "":
		r.Reason += err.Error() + ": " + last
	default:
		r.Reason += err.Error()
	}
	return r
}

// printable returns a line without what a terminal would obey, and not too long.
func printable(line string) string {
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, line))
	if runes := []rune(line); len(runes) > lastLineLimit {
		line = string(runes[:lastLineLimit]) + "..."
	}
	return line
}
