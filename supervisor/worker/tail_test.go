package worker

import (
	"slices"
	"testing"
)

func TestTheLastTracebackIsKeptWholeHoweverManyLinesFollow(t *testing.T) {
	trace := []string{"Traceback (most recent call last):", `  File "a.py", line 1, in f`, "    g()", "ValueError: no"}
	long := append([]string{trace[0]}, slices.Repeat([]string{"  x"}, 30)...)
	for name, c := range map[string]struct{ lines, want []string }{
		"one":               {slices.Concat([]string{"GET /"}, trace, []string{"GET /b"}), trace},
		"the last":          {slices.Concat([]string{trace[0], "  x", "KeyError: 1"}, trace), trace},
		"an empty line":     {[]string{trace[0], "", "KeyError: 1"}, []string{trace[0], "", "KeyError: 1"}},
		"not complete":      {slices.Concat(trace, trace[:2]), trace},
		"begun again":       {slices.Concat(trace[:2], trace), trace},
		"requests after it": {slices.Concat(trace, slices.Repeat([]string{"GET /healthz/"}, 100)), trace},
		"none":              {[]string{"GET /", "  x"}, nil},
		"a long one":        {append(long, "KeyError: 1"), slices.Concat(long[len(long)-traceLines+1:], []string{"KeyError: 1"})},
	} {
		tail := NewTail(40)
		for _, line := range c.lines {
			tail.Add([]byte(line))
		}
		if got := tail.Traceback(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
