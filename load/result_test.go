package load

import (
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at returns the time ms milliseconds after the start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func TestPercentilesAreNearestRanks(t *testing.T) {
	res := &Result{}
	for i := 1000; i >= 1; i-- {
		res.Records = append(res.Records, Record{Due: at(0), Ended: at(i)})
	}
	want := Latency{
		P50: 500 * time.Millisecond, P99: 990 * time.Millisecond,
		P999: 999 * time.Millisecond, Max: time.Second,
	}
	if got := res.Latency(); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := (&Result{}).Latency(); got != (Latency{}) {
		t.Errorf("of nothing: %v", got)
	}
	one := &Result{Records: []Record{{Due: at(0), Ended: at(7)}}}
	if got := one.Latency(); got.P50 != 7*time.Millisecond || got.Max != 7*time.Millisecond {
		t.Errorf("of one: %v", got)
	}
}

func TestDuringAndOutsideSplitTheRequestsByOverlap(t *testing.T) {
	res := &Result{Records: []Record{
		{Due: at(0), Ended: at(5)},    // before
		{Due: at(0), Ended: at(15)},   // into
		{Due: at(12), Ended: at(13)},  // within
		{Due: at(0), Ended: at(100)},  // across both
		{Due: at(25), Ended: at(29)},  // between
		{Due: at(39), Ended: at(100)}, // out of the second
	}}
	windows := []Window{{at(10), at(20)}, {at(30), at(40)}}
	if n := len(res.During(windows...).Records); n != 4 {
		t.Errorf("%d during", n)
	}
	if n := len(res.Outside(windows...).Records); n != 2 {
		t.Errorf("%d outside", n)
	}
}

func TestAnAnswerFromTheWrongGenerationIsFound(t *testing.T) {
	cutovers := []Cutover{
		{From: 1, To: 2, Began: at(100), Ended: at(110)},
		{From: 2, To: 3, Began: at(200), Ended: at(210)},
	}
	tests := map[string]struct {
		opened, connected, ended int
		generation               int
		direct, proxy            bool // whether it counts as misrouted
	}{
		"old before":             {90, 91, 95, 1, false, false},
		"new before its cutover": {90, 91, 95, 2, true, true},
		"new on a connection opened before, late end":  {90, 91, 150, 2, true, false},
		"old on a connection opened before, late end":  {90, 91, 150, 1, false, false},
		"either while it turns: old":                   {105, 106, 107, 1, false, false},
		"either while it turns: new":                   {105, 106, 107, 2, false, false},
		"connect lasts into the turn: new":             {90, 101, 120, 2, false, false},
		"old after":                                    {111, 112, 115, 1, true, true},
		"new after":                                    {111, 112, 115, 2, false, false},
		"the first one after the second cutover":       {211, 212, 215, 1, true, true},
		"the second one after the second cutover":      {211, 212, 215, 2, true, true},
		"the third one after the second cutover":       {211, 212, 215, 3, false, false},
		"the third one between":                        {150, 151, 155, 3, true, true},
		"an unknown generation":                        {150, 151, 155, 9, true, true},
		"a connection that was opened across all":      {90, 250, 260, 2, false, false},
		"no generation at all":                         {150, 151, 155, 0, true, true},
		"opened between, ended after the second: old":  {150, 151, 300, 2, false, false},
		"opened between, ended after the second: new":  {150, 151, 300, 3, true, false},
		"opened between, ended after the second: gone": {150, 151, 300, 1, true, true},
	}
	for name, test := range tests {
		res := &Result{Records: []Record{{
			Opened: at(test.opened), Connected: at(test.connected), Begun: at(test.opened), Ended: at(test.ended),
			Status: 200, Generation: test.generation,
		}}}
		if got := len(res.Misrouted(Direct, cutovers...)) == 1; got != test.direct {
			t.Errorf("%s: direct: %v", name, got)
		}
		if got := len(res.Misrouted(Proxy, cutovers...)) == 1; got != test.proxy {
			t.Errorf("%s: through a proxy: %v", name, got)
		}
	}
}

func TestAProxysOwnErrorIsNotMisrouted(t *testing.T) {
	bad := Record{Opened: at(150), Connected: at(150), Status: 502, Failure: ServerError}
	res := &Result{Records: []Record{bad, {Failure: Refused}}}
	if got := res.Misrouted(Direct, Cutover{From: 1, To: 2, Began: at(100), Ended: at(110)}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
