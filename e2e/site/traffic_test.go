package site

import (
	"regexp"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// trafficText is what a switch from r1 to r2 prints of the requests.
var trafficText = regexp.MustCompile(
	`(?m)^ *web  r1 \d+\.\d/s, 5xx 0\.0 %, p50 [\d.]+ m?s  ->  r2 \d+\.\d/s, 5xx [1-9]\d\.\d %, p50 [\d.]+ m?s$`)

func TestASwitchSaysWhatUsersGotBeforeAndAfter(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{
		Server: harness.Server{
			Name: "guarded", Command: "gunicorn --worker-class gthread --workers 2 --threads 2 guarded:wsgi",
		},
		Top: `probation = "4s"`, Web: `guard = "off"`,
		More: "[hooks]\nbefore = [\"sleep 3\"]\nbefore_rollback = true",
	})
	a.Releases("r1", "r2")
	for _, release := range []string{"r1", "r2"} {
		a.WriteFile("releases/"+release+"/guarded.py", guardedApp)
	}
	a.WriteFile("releases/r2/bad", "")
	a.Start("r1")
	r := visit(a)
	a.More(r, 20)
	change := a.Command("switch", "r2").Want(0)
	a.More(r, 20)
	o := a.Change(0, "rollback")
	records := r.Stop().Records
	if !trafficText.MatchString(change.Text()) {
		t.Errorf("the switch does not say what users got:\n%s", change.Text())
	}
	if !trafficText.MatchString(a.Command("history", "show", "2").Want(0).Text()) {
		t.Error("the history does not say what users got")
	}
	if len(o.Traffic) != 1 {
		t.Fatalf("traffic %+v", o.Traffic)
	}
	began, turned, ended := stepEnds(o, "resolve"), stepEnds(o, "cutover"), stepEnds(o, "probation")
	within(t, "before", o.Traffic[0].Before, records, "r2", began, turned)
	within(t, "after", o.Traffic[0].After, records, "r1", turned, ended)
}

// slack is how long before or after a step the counts may have been read.
const slack = time.Second

// within compares what superctl says of a release with what its clients got.
func within(t *testing.T, when string, got harness.TrafficSide, records []load.Record, release string, from, to time.Time) {
	t.Helper()
	var least, most uint64
	for i := range records {
		rec := &records[i]
		if rec.Release != release {
			continue
		}
		if rec.Begun.After(from.Add(slack)) && rec.Ended.Before(to.Add(-slack)) {
			least++
		}
		if rec.Ended.After(from.Add(-slack)) && rec.Begun.Before(to.Add(slack)) {
			most++
		}
	}
	if got.Release != release || got.Requests < least || got.Requests > most || least == 0 {
		t.Errorf("%s: %+v; clients of %s got %d to %d answers", when, got, release, least, most)
	}
	if wrong := got.Status5xx > 0; wrong != (release == "r2") || got.P50 <= 0 || got.P99 < got.P50 {
		t.Errorf("%s: %+v", when, got)
	}
}

func stepEnds(o harness.Outcome, name string) (end time.Time) {
	for _, st := range o.Steps {
		if st.Name == name {
			end = st.Began.Add(time.Duration(st.Seconds * float64(time.Second)))
		}
	}
	return end
}
