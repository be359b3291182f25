package health

import (
	"context"
	"strings"
	"time"
	"unicode"
)

// lastLineLimit is the maximum length of a command's last line in the reason, in characters.
const lastLineLimit = 200

// Exec runs the check's command once; exit code 0 is healthy. A failure does not count as an
// answer, because the command may have met a worker that is still starting.
func (c Check) Exec(ctx context.Context, run func(ctx context.Context, argv []string, line func(string)) error) Result {
	began := time.Now()
	ctx, cancel := c.withTimeout(ctx)
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
		r.Reason += c.unfinishedReason(ctx)
	case last != "":
		r.Reason += err.Error() + ": " + last
	default:
		r.Reason += err.Error()
	}
	return r
}

// printable returns a line shortened and without control characters.
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
