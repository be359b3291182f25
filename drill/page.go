package drill

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var page string

// WritePage writes the report as one self-contained HTML file.
func (r *Report) WritePage(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"ms": Milliseconds, "s": func(s float64) string { return fmt.Sprintf("%.1f s", s) }, "moment": Moment,
		"inc": func(i int) int { return i + 1 },
	}).Parse(page)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*Report
		Plot template.HTML
		JSON string
	}{r, template.HTML(r.plot()), string(data)}) // plot escapes text from outside
}

// Milliseconds formats a duration.
func Milliseconds(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// Moment formats a time since the load began.
func Moment(seconds float64) string { return fmt.Sprintf("+%.2f s", seconds) }

// Where describes when a loss happened.
func (l Loss) Where() string {
	when := Moment(l.First)
	if l.Count > 1 && Moment(l.Last) != when {
		when += " to " + Moment(l.Last)
	}
	switch l.Phase {
	case "":
		return when + ", between the changes"
	case phaseStop, phaseAround:
		return when + ", " + l.Change + ", " + l.Phase
	case phaseKill:
		return when + ", " + l.Change
	}
	return when + ", " + l.Change + ", step " + l.Phase
}
