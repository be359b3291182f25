package drill

import (
	"math"
	"regexp"
	"strconv"
	"testing"
	"time"

	"superctl/load"
)

func TestTheLoadIsWhatTheSiteCanServe(t *testing.T) {
	for name, c := range map[string]struct {
		records []load.Record
		want    float64
		each    time.Duration
	}{
		"fast": {
			[]load.Record{request(0, 2, load.None), request(2, 4, load.None)},
			50,
			2 * time.Millisecond,
		},
		"slow": {
			[]load.Record{request(0, 30, load.None), request(30, 80, load.None)},
			0.7 / 0.04,
			40 * time.Millisecond,
		},
		"very slow": {[]load.Record{request(0, 7000, load.None)}, 0.1, 7 * time.Second},
		"failures say less": {
			[]load.Record{request(0, 10, load.Closed), request(10, 110, load.None)},
			7,
			100 * time.Millisecond,
		},
		"nothing answered": {[]load.Record{request(0, 10, load.Closed)}, 50, 0},
		"nothing asked":    {nil, 50, 0},
	} {
		rate, each := steadyRate(50, &load.Result{Records: c.records})
		if math.Abs(rate-c.want) > 1e-9 || each != c.each {
			t.Errorf("%s: %g a second of %s each, want %g of %s", name, rate, each, c.want, c.each)
		}
	}
}

func TestThePlotCoversTheWholeTimeOfASlowSite(t *testing.T) {
	// Requests were due every 10 ms, but could be sent every 100 ms only.
	var records []load.Record
	for i := range 100 {
		r := request(100*i, 100*i+100, load.None)
		r.Due = at(10 * i)
		records = append(records, r)
	}
	plot := judged(Options{Version: "1.0"}, direct, nil, records...).plot()
	last := 0.0
	for _, m := range regexp.MustCompile(`M([0-9.]+) [0-9.]+z`).FindAllStringSubmatch(plot, -1) {
		x, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, x)
	}
	if last < plotLeft+0.95*plotWidth {
		t.Errorf("the last request is drawn at %.0f of %.0f", last, plotLeft+plotWidth)
	}
}
