package requests

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// most is the largest error that the documentation promises, from 100 us to 5 minutes.
const most = 0.05

func TestTheMiddleOfACellIsNearEveryDurationInIt(t *testing.T) {
	for d := 100 * time.Microsecond; d <= 5*time.Minute; d += d/1000 + 1 {
		got := middle(cell(d))
		if wrong := math.Abs(float64(got-d)) / float64(d); wrong > most {
			t.Fatalf("%s is counted as %s: %.1f %%", d, got, 100*wrong)
		}
	}
}

func TestACellBeginsWhereTheOneBeforeEnds(t *testing.T) {
	at := 0
	for v := time.Duration(0); at < len(Histogram{})-1; v += max(1, v>>5) {
		c := cell(v << unit)
		if c != at && c != at+1 {
			t.Fatalf("%s: cell %d after %d", v<<unit, c, at)
		}
		at = c
	}
	if cell(math.MaxInt64) != len(Histogram{})-1 || cell(-1) != 0 {
		t.Errorf("cells %d and %d", cell(math.MaxInt64), cell(-1))
	}
}

func TestDurationsAreCountedAsTheFormatSays(t *testing.T) {
	for d, want := range map[time.Duration]int{
		0: 0, 4095: 0, 4096: 1, 15 << 12: 15, 16 << 12: 16, 31 << 12: 31, 32 << 12: 32, 33 << 12: 32, 34 << 12: 33,
		time.Millisecond: 78, time.Second: 237, 5 * time.Minute: 369,
	} {
		if got := cell(d); got != want {
			t.Errorf("%s: cell %d, not %d", d, got, want)
		}
	}
}

func TestAQuantileIsNearTheExactOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	for range 200 {
		var h Histogram
		list := make([]time.Duration, 1+random.IntN(2000))
		centre := math.Exp(math.Log(1e5) + random.Float64()*math.Log(3e11/1e5))
		for i := range list {
			list[i] = min(5*time.Minute, max(100*time.Microsecond, time.Duration(centre*math.Exp(random.NormFloat64()))))
			h[cell(list[i])]++
		}
		slices.Sort(list)
		for _, q := range []float64{0.5, 0.95, 0.99, 1} {
			exact := list[int(math.Ceil(q*float64(len(list))))-1]
			if wrong := math.Abs(float64(h.Quantile(q)-exact)) / float64(exact); wrong > most {
				t.Fatalf("p%.0f of %d is %s, not %s: %.1f %%", 100*q, len(list), h.Quantile(q), exact, 100*wrong)
			}
		}
	}
}

func TestAnEmptyHistogramHasNoQuantile(t *testing.T) {
	var h Histogram
	if d := h.Quantile(0.99); d != 0 {
		t.Errorf("%s", d)
	}
}

func TestAHistogramIsReadAsItIsWritten(t *testing.T) {
	var h, back Histogram
	h[0], h[77], h[399] = 1, math.MaxUint64, 3
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &back); err != nil || back != h {
		t.Errorf("%v: %s", err, data)
	}
	for _, text := range []string{`{"400":1}`, `{"-1":1}`, `[1]`} {
		if err := json.Unmarshal([]byte(text), &back); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

func TestBucketsAndTheSumOfAHistogramAreNearTheExactOnes(t *testing.T) {
	var h Histogram
	var exact time.Duration
	for _, d := range []time.Duration{200 * time.Microsecond, 40 * time.Millisecond, 3 * time.Second} {
		for range 10 {
			h[cell(d)]++
			exact += d
		}
	}
	for bound, want := range map[time.Duration]uint64{
		0: 0, time.Millisecond: 10, 50 * time.Millisecond: 20, time.Minute: 30,
	} {
		if n := h.Within(bound); n != want {
			t.Errorf("%d within %s, not %d", n, bound, want)
		}
	}
	if off := math.Abs(float64(h.Sum()-exact)) / float64(exact); off > 0.032 {
		t.Errorf("the sum is %s, not %s", h.Sum(), exact)
	}
	read, err := FromCells(h.Cells())
	if err != nil || read != h {
		t.Errorf("%v, %v", read, err)
	}
	if _, err := FromCells(map[int]uint64{len(h): 1}); err == nil {
		t.Error("a cell that does not exist is read")
	}
}

func TestDurationsInCellsThatDouble(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, 900 * time.Microsecond, 3 * time.Millisecond, 3100 * time.Microsecond, 20 * time.Millisecond} {
		h[cell(d)]++
	}
	if got := h.Doubling(time.Millisecond); !slices.Equal(got, []uint64{2, 0, 2, 0, 0, 1}) {
		t.Errorf("%v", got)
	}
	if got := new(Histogram).Doubling(time.Millisecond); len(got) > 0 {
		t.Errorf("no durations: %v", got)
	}
}

func TestWhatWasCountedSinceALook(t *testing.T) {
	before := Counts{Started: 10, InFlight: 1, Answered: [classes]uint64{0, 7, 0, 0, 1}, Broken: 1}
	before.Durations[3] = 8
	now := Counts{Started: 15, InFlight: 2, Answered: [classes]uint64{0, 9, 0, 0, 2}, Broken: 1, Aborted: 1}
	now.Durations[3], now.Durations[4] = 10, 1
	want := Counts{Started: 5, InFlight: 2, Answered: [classes]uint64{0, 2, 0, 0, 1}, Aborted: 1}
	want.Durations[3], want.Durations[4] = 2, 1
	if got := now.Since(&before); got != want {
		t.Errorf("%+v", got)
	}
	if got := before.Since(&now); got != (Counts{}) {
		t.Errorf("counts that have become less: %+v", got)
	}
}
