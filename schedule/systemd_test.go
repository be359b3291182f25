package schedule

import (
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// iterations asks the real systemd when a calendar event elapses; ok = it is one.
func iterations(t testing.TB, text, zone string, from time.Time) (list []string, ok bool) {
	t.Helper()
	cmd := exec.Command("systemd-analyze", "calendar", "--iterations=6",
		"--base-time="+from.UTC().Format("2006-01-02 15:04:05")+" UTC", "--", text)
	cmd.Env = []string{"TZ=" + zone, "LC_ALL=C", "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "Failed to parse calendar specification") {
			return nil, false
		}
		t.Fatalf("systemd-analyze calendar %q: %v\n%s", text, err, out)
	}
	for _, m := range elapses.FindAllStringSubmatch(string(out), -1) {
		list = append(list, m[1])
	}
	return list, true
}

var elapses = regexp.MustCompile(`(?m)(?:elapse|Iter\. #\d+|in UTC\)): \w+ (\S+ \S+) UTC$`)

// ours returns the same of this package.
func ours(s *Schedule, from time.Time) (list []string) {
	for range 6 {
		next, ok := s.Next(from)
		if !ok {
			break
		}
		list, from = append(list, next.UTC().Format("2006-01-02 15:04:05")), next
	}
	return list
}

// compare compares one calendar event with systemd.
func compare(t testing.TB, text, zone string, from time.Time) {
	t.Helper()
	s, err := Parse(text, load(t, zone))
	want, valid := iterations(t, text, zone, from)
	if valid != (err == nil) {
		t.Errorf("%q: %v, and systemd: valid %t", text, err, valid)
		return
	}
	if got := ours(s, from); valid && !slices.Equal(got, want) {
		t.Errorf("%q in %s after %s: due at\n %v, and systemd says\n %v", text, zone, from, got, want)
	}
}

func TestCalendarEventsAreThoseOfSystemd(t *testing.T) {
	for _, text := range []string{
		"Mon..Fri 9..17:0/30", "Sat..Mon", "*-2~3", "*-*~1", "Mon *-*-1..7", "2027-*-*", "*-05~07/1", "Thu,Fri 2012-*-1,5 11:12:13",
		"*-2,4,8..10-3", "Mon,,Wed", "mon", "MONDAY", "Mon-Fri", "Mon..", "*-*-1/0", "*-*-3..1", "23..5:00", "weekly", "Quarterly",
		"semi-annually", "biannually", "bi-annually", "yearly", "annually", "monthly", "daily", "hourly", "minutely", "27-12-24",
		"70-1-1", "10-15", "10", "10:", "00:00..05", "*/3:00", "1..6/2:00", "00:*/5", "Mon,", "Sun..Sun", "Mon..Tue,Thu", "Mon..Sun",
		"*-*-*", "*", "12:00 UTC", "12:00 Nowhere/X", "12:00 Asia/Tokyo", "*-*-31", "2-29", "*-2-30", "*~1", "*-*~0", "*-*~28", "*-*~29",
		"12:00:60", "24:00", "Mon 12:00, Tue", "2026/2-1-1", "*-1..12/3-1", "*:0/0", "0..59/100:00", "Sun-Mon", "Fri..Tue 3:00",
		"Wed,17:48", "*:0,15,30,45", "5,*:00", "*,5:00", "3:00:*", "*:*:0/5", "Sun 03:00", "*-*~1..3", "*-*~3..1", "*-*~1,7", "*-*~*",
		"2026-*~*", "*-*~10/3", "*-*~2..9/3", "Sat *-*~07/1", "*-*-1/30", "*-*-1/31", "*-*-2/31", "0/23:00", "0/24:00", "1/24:00", "*:1/59", "*:1/60",
		"2069-1-1", "69-1-1", "2199-12-31", "weekly UTC", "Mon weekly", "utc", "Mon UTC", "*-*-01 00:00 America/New_York", "Local",
	} {
		compare(t, text, "UTC", utc("2026-03-02 00:20"))
	}
}

// Any calendar event, in zones on days without a change of the clock: there the rules differ
// (TestAScheduleOfCertainHoursIsDueOnceForEachTimeOnTheClock).
func TestRandomCalendarEventsAreThoseOfSystemd(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 150 {
		compare(t, randomEvent(r), "UTC", utc("2026-03-02 00:20").Add(time.Duration(r.IntN(365*24*3600))*time.Second))
	}
	for _, zone := range []string{"Asia/Tokyo", "Asia/Kolkata"} {
		for range 10 {
			compare(t, randomEvent(r), zone, utc("2026-03-02 00:20"))
		}
	}
}

// randomEvent makes up a calendar event, most of which are valid.
func randomEvent(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	value := func(from, to int) string {
		v := func() string { return strconv.Itoa(from + r.IntN(to-from+1)) }
		switch r.IntN(6) {
		case 0:
			return "*"
		case 1:
			return v() + "," + v()
		case 2:
			return v() + ".." + v()
		case 3:
			return v() + "/" + strconv.Itoa(r.IntN(8))
		case 4:
			return v() + ".." + v() + "/" + strconv.Itoa(1+r.IntN(8))
		}
		return v()
	}
	var parts []string
	if r.IntN(3) == 0 {
		parts = append(parts, pick("Mon", "Tue..Thu", "Sat,Sun", "Fri,Mon", "Wed..Sun", "sunday", "Mon..Sun", "Sun..Tue"))
	}
	if r.IntN(2) == 0 {
		parts = append(parts, pick("", "*-", "2026-", "2026..2030-", "2025/3-")+value(1, 12)+pick("-", "-", "~")+value(1, 31))
	}
	if r.IntN(4) > 0 || len(parts) == 0 {
		parts = append(parts, value(0, 24)+":"+value(0, 59)+pick("", ":"+value(0, 59)))
	}
	return strings.Join(parts, " ")
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"*/15 * * * *", "Sun 03:00", "*-*~1..3 0/2:5,7 UTC", "@daily", "0 3 * * 6-7", "2026-02~07/1", "Mon..Fri"} {
		f.Add(text, int64(1_700_000_000))
	}
	zone := load(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string, at int64) {
		s, err := Parse(text, zone)
		if err != nil {
			return
		}
		from := time.Unix(at%4_000_000_000, 0)
		if next, ok := s.Next(from); ok && !next.After(from) {
			t.Errorf("%q after %s: %s", text, from, next)
		}
	})
}
