package drill

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"superctl/load"
)

var update = flag.Bool("update", false, "write the current page into testdata")

// reported returns a report with content in each of its parts.
func reported() *Report {
	kill := change{
		kind: aWorkerKill, what: "kill -9 of a worker", window: window(6000, 7000),
		replaced: at(6100), detail: "a new worker was ready after 1.0 s",
	}
	refused := change{kind: aReload, what: "reload of <r2>", window: window(8000, 8500), err: "it was refused: no"}
	rep := judged(Options{Version: "1.0"}, direct, []change{aSwitchAt(1000), kill, refused},
		request(0, 10, load.None), request(500, 503, load.None), request(1500, 1700, load.Closed),
		request(3000, 3020, load.None),
		request(5900, 6001, load.Reset), request(6200, 6950, load.None), request(9000, 9002, load.None))
	rep.BrokenPromises = []string{"reload of <r2>: it was refused: no"}
	rep.Notes = []string{"GET / answers 302, which the drill therefore accepts"}
	rep.conclude()
	return rep
}

func TestThePageMatchesItsGolden(t *testing.T) {
	var b strings.Builder
	if err := reported().WritePage(&b); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/page.html"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the page differs from %s; look at it in a browser, then run go test -update", golden)
	}
}

func TestThePageIsSelfContained(t *testing.T) {
	var b strings.Builder
	if err := reported().WritePage(&b); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(b.String(), `xmlns="http://www.w3.org/2000/svg"`, "")
	for _, word := range []string{"http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"} {
		if strings.Contains(text, word) {
			t.Errorf("the page contains %q", word)
		}
	}
	if strings.Contains(text, "<r2>") {
		t.Error("the name of a release is markup")
	}
	for _, word := range []string{
		"<b>Failed:</b>", "1 of 7 requests was lost", "Broken promises",
		"counted separately", "prefers-color-scheme: dark",
	} {
		if !strings.Contains(text, word) {
			t.Errorf("the page lacks %q", word)
		}
	}
}

func TestThePlotIsXMLWithAPointForEachRequest(t *testing.T) {
	plot := reported().plot()
	circles := map[string]int{}
	for dec := xml.NewDecoder(strings.NewReader(plot)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, plot)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles[e.Attr[0].Value]++
		}
	}
	good := regexp.MustCompile(`M[0-9.]+ [0-9.]+z`).FindAllString(plot, -1)
	if circles["lost"] != 1 || circles["separate"] != 1 || len(good) != 5 {
		t.Errorf("%d good, %v", len(good), circles)
	}
	if strings.Count(plot, `class="band`) != 3 || strings.Count(plot, `class="band bad"`) != 2 {
		t.Errorf("the bands: %s", plot)
	}
	if empty := judged(Options{}, direct, nil).plot(); !strings.Contains(empty, "</svg>") ||
		strings.Contains(empty, "NaN") {
		t.Errorf("of nothing: %s", empty)
	}
}
