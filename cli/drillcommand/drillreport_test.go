//go:build linux

package drillcommand

import (
	"strings"
	"testing"

	"superctl/cli/console"
	"superctl/drill"
)

func TestAFailedDrillIsReportedWithItsRemedies(t *testing.T) {
	var out strings.Builder
	c := &command{&console.Console{Stdout: &out}}
	c.print().drill(&drill.Report{
		App: "shop", Address: "127.0.0.1:4711", Seconds: 31,
		Verdict: "7 of 1000 requests were lost, in 2 changes; 1 more ended with the killed worker",
		Load:    drill.LoadReport{Requests: []string{"GET /", "POST /echo"}, Sent: 49.7},
		Steady:  drill.Latency{Requests: 600, P50: 2.1, P99: 20, P999: 1500, Slowest: 12_000},
		During:  drill.Latency{Requests: 400, P50: 2.2, P99: 21, P999: 22, Slowest: 23},
		Changes: []drill.ChangeReport{
			{
				What: "switch to r2", At: 3, Seconds: 2.5, Detail: "cutover 0.11 ms", OK: true, Requests: 100, Lost: 7,
				Slowest: 23,
			},
			{What: "reload of r2", At: 7.25, Seconds: 0.5, Error: "it was refused: no", Requests: 25, Slowest: 4},
		},
		Losses: []drill.Loss{
			{
				Change: "switch to r2", Number: 1, Phase: "settle", Kind: "reset", Connection: "new", Count: 4,
				First: 5, Last: 5.02, Example: "GET /: reset", Cause: "a cause",
				Advice: "an advice that is so long that it does not fit on one line of the report and therefore has to wrap",
			},
			{
				Change: "switch to r2", Number: 1, Phase: "prove", Kind: "reset", Connection: "new", Count: 3, First: 4,
				Last: 4, Cause: "a cause",
				Advice: "an advice that is so long that it does not fit on one line of the report and therefore has to wrap",
			},
			{
				Kind: "closed", Connection: "kept", Count: 1, First: 9, Last: 9, Example: "GET /: closed",
				Cause: "another", Advice: "nothing", InKilledWorker: true,
			},
		},
		BrokenPromises: []string{"reload of r2: it was refused: no"},
		Notes:          []string{"GET / answers 302, which counts as a success"},
	})
	const want = `
shop: the drill failed: 7 of 1000 requests were lost, in 2 changes; 1 more ended with the killed worker

  broken  reload of r2: it was refused: no

  7 lost: reset, on new connections
    4   +5.00 s to +5.02 s, switch to r2, step settle
    3   +4.00 s, switch to r2, step prove
    cause    a cause
    remedy   an advice that is so long that it does not fit on one line of the report and therefore
             has to wrap
    example  GET /: reset

  1 in the killed worker: their connections ended with it
    1   +9.00 s, between the changes
    cause    another
    remedy   nothing
    example  GET /: closed

  START    DURATION  REQUESTS  LOST  SLOWEST  CHANGE
  +3.00 s  2.5 s     100       7     23 ms    switch to r2: cutover 0.11 ms
  +7.25 s  500 ms    25        0     4.0 ms   reload of r2: it was refused: no

                  REQUESTS  P50     P99    P99.9  SLOWEST
  steady          600       2.1 ms  20 ms  1.5 s  12 s
  during changes  400       2.2 ms  21 ms  22 ms  23 ms

  GET /, POST /echo at 127.0.0.1:4711: 50 requests a second, a new connection for each, for 31 s
  note GET / answers 302, which counts as a success
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
