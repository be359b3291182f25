package harness

import "testing"

func TestALineThatIsDrawnAgainAppearsOnce(t *testing.T) {
	for output, want := range map[string]string{
		"a\r\nb\r\n":                        "a\nb\n",
		"a\r\n\r\x1b[Kb 1\r\x1b[Kb 2\r\n":   "a\nb 2\n",
		"a\r\nb 1\r\nc 1\x1b[1A\r\x1b[Jd":   "a\nd",
		"a 1\r\nb 1\r\nc\x1b[2A\r\x1b[Jd\n": "d\n",
	} {
		if got, err := FinalLines(output); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", output, got, err, want)
		}
	}
	if _, err := FinalLines("a\rb\n"); err == nil {
		t.Error("a line that is drawn over is accepted")
	}
}
