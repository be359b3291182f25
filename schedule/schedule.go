// Package schedule says when a scheduled command is due. It understands the five fields of cron and
// the calendar events of systemd (systemd.time(7)), and knows what to do when clocks are put
// forward or back. It runs nothing and reads no clock.
package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Schedule is a parsed schedule in a time zone.
type Schedule struct {
	spec spec
	zone *time.Location
}

// Parse parses five fields of cron ("*/15 * * * *"), a name such as "@daily", or a calendar event of
// systemd ("Sun 03:00"). The zone is that of the schedule unless a calendar event ends with its own.
// An error says what to write instead.
func Parse(text string, zone *time.Location) (*Schedule, error) {
	words := strings.Fields(text)
	if len(words) == 5 || len(words) > 0 && strings.HasPrefix(words[0], "@") {
		s, err := parseCron(words)
		return &Schedule{s, zone}, err
	}
	if looksLikeCron(words) {
		return nil, fmt.Errorf("%q has %d fields, and a crontab's schedule has 5: minute, hour, day, month, day of the week",
			text, len(words))
	}
	s, own, err := parseCalendar(text)
	if own != nil {
		zone = own
	}
	return &Schedule{s, zone}, err
}

// farAway is more than any clock has ever been put forward or back.
const farAway = 48 * time.Hour

// Zone returns the time zone of the schedule.
func (s *Schedule) Zone() *time.Location { return s.zone }

// Next returns the first time after another at which the schedule is due; false = never again.
//
// A schedule for certain hours is due once for each time on the clock: a time that the clock skips
// is due when the clock goes on, and of a time that comes twice only the first counts. A schedule
// for every hour follows the time that really passes: it is due in both of two equal hours, and not
// in an hour that the clock skips.
func (s *Schedule) Next(after time.Time) (time.Time, bool) {
	t := after.In(s.zone)
	wall := wallOf(t)
	for {
		_, end := t.ZoneBounds()
		next, ok := s.spec.next(wall)
		if !ok {
			return time.Time{}, false
		}
		due := instant(next, t)
		if end.IsZero() || due.Before(end) {
			if !s.spec.everyHour() && comesAgain(next, t) {
				wall = next
				continue
			}
			return due, true
		}
		// the clock changes before that, maybe often
		if near := due.Add(-farAway); near.After(end) {
			t, wall = near, wallOf(near)
			continue
		}
		end = end.In(s.zone)
		from, to := instantWall(end, t), wallOf(end)
		if !s.spec.everyHour() && from.Before(to) && next.Before(to) {
			return end, true
		}
		t, wall = end, to.Add(-time.Second)
	}
}

// wallOf returns what a clock shows, as a time without a zone: in UTC, and in whole seconds.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// offset returns what a clock that is set as at t shows more than one in UTC.
func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// instant returns when a clock that is set as at t shows wall.
func instant(wall, t time.Time) time.Time { return wall.Add(-offset(t)).In(t.Location()) }

// instantWall returns what a clock that is set as at t would show at another time.
func instantWall(at, t time.Time) time.Time { return at.UTC().Add(offset(t)) }

// comesAgain reports whether the clock, which is set as at t, has shown wall before: it was put back
// since.
func comesAgain(wall, t time.Time) bool {
	start, _ := t.ZoneBounds()
	if start.IsZero() {
		return false
	}
	before := start.Add(-time.Second).In(t.Location())
	return wall.Before(instantWall(start, before))
}
