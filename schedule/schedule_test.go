package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func load(t testing.TB, zone string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func parse(t testing.TB, text, zone string) *Schedule {
	t.Helper()
	s, err := Parse(text, load(t, zone))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// changes are the days of 2026 on which clocks change, and by how much: forward, and back.
var changes = []struct {
	zone          string
	forward, back time.Time // the first moment with the other time
	by            time.Duration
}{
	{"Europe/Berlin", utc("2026-03-29 01:00"), utc("2026-10-25 01:00"), time.Hour},
	{"America/New_York", utc("2026-03-08 07:00"), utc("2026-11-01 06:00"), time.Hour},
	{"Australia/Lord_Howe", utc("2026-10-03 15:30"), utc("2026-04-04 15:00"), 30 * time.Minute},
}

func utc(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// year returns when a schedule is due in 2026, on the clock of its zone.
func year(t *testing.T, s *Schedule) []time.Time {
	t.Helper()
	return between(t, s, time.Date(2026, 1, 1, 0, 0, 0, 0, s.Zone()), time.Date(2027, 1, 1, 0, 0, 0, 0, s.Zone()))
}

// between returns when a schedule is due from begin on, and before end.
func between(t *testing.T, s *Schedule, begin, end time.Time) (list []time.Time) {
	t.Helper()
	for at := begin.Add(-time.Second); ; {
		next, ok := s.Next(at)
		if !ok || !next.After(at) {
			t.Fatalf("after %s comes %s, %t", at, next, ok)
		}
		if at = next; !at.Before(end) {
			return list
		}
		list = append(list, at)
	}
}

// The days around each change of the clock, against a clock that is looked at every minute.
func TestAScheduleOfCertainHoursIsDueOnceForEachTimeOnTheClock(t *testing.T) {
	for _, c := range changes {
		for _, text := range []string{
			"30 2 * * *", "15 1 * * *", "45 1,2,3 * * *", "*/10 2 * * *", "02:10", "Sun 01:40", "0 3 * * *", "0 0/2 * * *",
		} {
			t.Run(c.zone+" "+text, func(t *testing.T) {
				s := parse(t, text, c.zone)
				all := year(t, s)
				for _, change := range []time.Time{c.forward, c.back} {
					begin, end := change.Add(-36*time.Hour), change.Add(36*time.Hour)
					var got, want []time.Time
					for _, at := range all {
						if !at.Before(begin) && at.Before(end) {
							got = append(got, at)
						}
					}
					for at := begin.In(s.Zone()); at.Before(end); at = at.Add(time.Minute) {
						skipped := false
						if at.Equal(c.forward) { // what the clock did not show
							for w := wallOf(at).Add(-c.by); w.Before(wallOf(at)); w = w.Add(time.Minute) {
								skipped = skipped || shows(s, w)
							}
						}
						again := !at.Before(c.back) && at.Before(c.back.Add(c.by)) // the clock has shown this before
						if (shows(s, wallOf(at)) || skipped) && !again {
							want = append(want, at)
						}
					}
					same(t, got, want)
				}
			})
		}
	}
}

// shows reports whether a schedule matches what a clock shows.
func shows(s *Schedule, wall time.Time) bool {
	return s.spec.hour.has(wall.Hour()) && s.spec.minute.has(wall.Minute()) && s.spec.weekday.has(int(wall.Weekday()))
}

func same(t *testing.T, got, want []time.Time) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("due %d times, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !got[i].Equal(want[i]) {
			t.Fatalf("due at %s, want %s", got[i], want[i])
		}
	}
}

func TestADailyScheduleIsDueOnEveryDayOfTheYear(t *testing.T) {
	for _, c := range changes {
		for hour := range 4 {
			for _, minute := range []int{0, 20, 45} {
				list := year(t, parse(t, fmt.Sprintf("%d %d * * *", minute, hour), c.zone))
				for i, at := range list {
					if at.YearDay() != i+1 {
						t.Fatalf("%s %02d:%02d: %s is time %d of the year", c.zone, hour, minute, at, i+1)
					}
				}
				if len(list) != 365 {
					t.Errorf("%s %02d:%02d: due %d times", c.zone, hour, minute, len(list))
				}
			}
		}
	}
}

func TestAScheduleOfEveryHourFollowsTheTimeThatPasses(t *testing.T) {
	evenly := func(zone, text string, every time.Duration, list []time.Time) {
		t.Helper()
		for i, at := range list[1:] {
			if at.Sub(list[i]) != every {
				t.Fatalf("%s %s: %s comes after %s", zone, text, at, list[i])
			}
		}
	}
	for _, c := range changes {
		const halves = "*:0/30"
		evenly(c.zone, halves, 30*time.Minute, year(t, parse(t, halves, c.zone)))
		for text, every := range map[string]time.Duration{"*/15 * * * *": 15 * time.Minute, "*:0/10:00": 10 * time.Minute} {
			for _, change := range []time.Time{c.forward, c.back} {
				evenly(c.zone, text, every, between(t, parse(t, text, c.zone), change.AddDate(0, 0, -2), change.AddDate(0, 0, 2)))
			}
		}
	}
}

func TestATimeThatTheClockSkipsIsDueWhenItGoesOn(t *testing.T) {
	for _, c := range changes {
		skipped := c.forward.In(load(t, c.zone)).Add(-time.Minute) // on the clock as it was
		wall := skipped.Add(2 * time.Minute)
		s := parse(t, fmt.Sprintf("%d %d * * *", (skipped.Minute()+11)%60, (skipped.Hour()+1)%24), c.zone)
		for _, after := range []time.Time{c.forward.Add(-time.Hour), c.forward.Add(-time.Second)} {
			if due, _ := s.Next(after); !due.Equal(c.forward) {
				t.Errorf("%s: due at %s, want %s (%s)", c.zone, due, c.forward, wall)
			}
		}
		if again, _ := s.Next(c.forward); again.Sub(c.forward) < 20*time.Hour {
			t.Errorf("%s: due again at %s", c.zone, again)
		}
	}
}

func TestFiveFieldsAreThoseOfCron(t *testing.T) {
	for text, want := range map[string]string{
		"*/15 * * * *":    "2026-03-01 00:15",
		"0 3 * * *":       "2026-03-01 03:00",
		"0 3 * * 7":       "2026-03-08 03:00",
		"0 3 * * sun":     "2026-03-08 03:00",
		"0 3 * * 6-7":     "2026-03-07 03:00",
		"30 4 2,15 * 5":   "2026-03-02 04:30", // the day or the weekday
		"30 4 13 * *":     "2026-03-13 04:30",
		"0 0 29 2 *":      "2028-02-29 00:00",
		"0 9-17/4 * * 1":  "2026-03-02 09:00",
		"@daily":          "2026-03-02 00:00",
		"@weekly":         "2026-03-08 00:00",
		"5 4 * jan mon,7": "2027-01-03 04:05",
		"0 3 * * 7,7":     "2026-03-08 03:00",
		"0 3 * * 0-7":     "2026-03-02 03:00",
	} {
		from := utc("2026-03-01 00:00")
		if strings.HasPrefix(text, "0 3 * * ") && text != "0 3 * * *" {
			from = from.Add(4 * time.Hour) // a Sunday
		}
		due, ok := parse(t, text, "UTC").Next(from)
		if !ok || !due.Equal(utc(want)) {
			t.Errorf("%s: due at %s, want %s", text, due, want)
		}
	}
}

func TestAScheduleThatIsNoneSaysWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"":                "it is empty",
		"Sun 25:00":       `invalid hour "25": it is not in the limits: use 0 to 23, * or 0/15`,
		"*:0/0":           `invalid minute "0/0": its step is not in the limits: use 0/N with an N of 1 or more`,
		"3":               `invalid date "3": use 2026-12-31, 12-31 or *-*-01, and 03:00 for a time`,
		"Son 03:00":       `invalid date "Son": use 2026-12-31, 12-31 or *-*-01, and 03:00 for a time`,
		"Sat..Mon":        `invalid weekdays "Sat..Mon": a week begins with Mon and ends with Sun`,
		"Monx":            `invalid weekdays "Monx": use Mon, Mon,Wed or Mon..Fri`,
		"03:00 2026-1-1":  `unexpected "2026-1-1": the order is weekdays, date, time, time zone`,
		"*:*:0/2.5":       `invalid second "0/2.5": its step is not in the limits: use 0/N with an N of 1 or more`,
		"23..5:00":        `invalid hour "23..5": it ends before it begins: use two ranges`,
		"61 * * * *":      `invalid minute "61": use 0 to 59, *, */15, 1-5 or 1,15`,
		"0 3 * * 1-9":     `invalid day of the week "1-9": use 0 to 6 (0 is Sunday), sun to sat, *, 1-5 or 1,3`,
		"0 3 * 0 mon":     `invalid month "0": use 1 to 12, jan to dec, *, */3, 1-6 or 1,7`,
		"@every 5m":       `@every: write "*/15 * * * *" for every 15 minutes`,
		"@reboot":         "@reboot: superctl runs no command at its start: write a time, such as @daily",
		"@dayly":          "invalid name @dayly: use @hourly, @daily, @weekly, @monthly or @yearly",
		"*/15 * * *":      `"*/15 * * *" has 4 fields, and a crontab's schedule has 5: minute, hour, day, month, day of the week`,
		"0 3 * * * root":  `"0 3 * * * root" has 6 fields, and a crontab's schedule has 5: minute, hour, day, month, day of the week`,
		"TZ=UTC * * * *":  "TZ=UTC: set timezone instead",
		", * * * *":       "a field has no value",
		"03:00 Mars/Base": `unexpected "Mars/Base": the order is weekdays, date, time, time zone`,
	} {
		if _, err := Parse(text, time.UTC); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
