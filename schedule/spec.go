package schedule

import (
	"slices"
	"time"
)

// spec says which times on a clock match.
type spec struct {
	year, month, day, hour, minute, second field

	weekday field // 0 = Sunday
	// fromEnd says that days are counted from the end of the month: 1 = the last one.
	fromEnd bool
	// either says that the day or the weekday must match, rather than both.
	either bool
}

// field is the values that match; nil = any.
type field []span

// span is a first value, a last one and the distance between two.
type span struct{ from, to, step int }

func (f field) has(v int) bool {
	return f == nil || slices.ContainsFunc(f, func(s span) bool { return s.has(v) })
}

func (s span) has(v int) bool { return s.from <= v && v <= s.to && (v-s.from)%s.step == 0 }

// lastYear is the last one for which a schedule is due, as for systemd.
const lastYear = 2199

// everyHour reports whether hours do not matter.
func (s *spec) everyHour() bool {
	for hour := range 24 {
		if !s.hour.has(hour) {
			return false
		}
	}
	return true
}

// next returns the first time on a clock after another that matches.
func (s *spec) next(wall time.Time) (time.Time, bool) {
	wall = wall.Add(time.Second)
	year, month, day := wall.Date()
	from := (wall.Hour()*60+wall.Minute())*60 + wall.Second()
	for d := midnight(year, month, day); d.Year() <= lastYear; {
		switch {
		case !s.year.has(d.Year()):
			d = midnight(d.Year()+1, time.January, 1)
		case !s.month.has(int(d.Month())):
			d = midnight(d.Year(), d.Month()+1, 1)
		default:
			if s.hasDay(d) {
				if seconds, ok := s.timeOfDay(from); ok {
					return d.Add(time.Duration(seconds) * time.Second), true
				}
			}
			d = midnight(d.Year(), d.Month(), d.Day()+1)
		}
		from = 0
	}
	return time.Time{}, false
}

func midnight(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// hasDay reports whether a day matches by its number and its weekday.
func (s *spec) hasDay(d time.Time) bool {
	day, weekday := s.day.has(d.Day()), s.weekday.has(int(d.Weekday()))
	if s.fromEnd {
		last := midnight(d.Year(), d.Month()+1, 0).Day()
		day = slices.ContainsFunc(s.day, func(s span) bool { return s.fromEnd(last).has(d.Day()) })
	}
	if s.either {
		return day || weekday
	}
	return day && weekday
}

// fromEnd returns the days of a span that counts from the end of a month; last is its last day.
func (s span) fromEnd(last int) span {
	if s.to == openEnd { // such as ~07/1: from the seventh day before the end
		return span{last + 1 - s.from, last, s.step}
	}
	return span{last + 1 - s.to, last + 1 - s.from, s.step}
}

// timeOfDay returns the first time of the day that matches, in seconds, from a time on.
func (s *spec) timeOfDay(from int) (seconds int, ok bool) {
	for hour := from / 3600; hour < 24; hour++ {
		if !s.hour.has(hour) {
			continue
		}
		for minute := max(0, from/60-hour*60); minute < 60; minute++ {
			if !s.minute.has(minute) {
				continue
			}
			begin := (hour*60 + minute) * 60
			for second := max(0, from-begin); second < 60; second++ {
				if s.second.has(second) {
					return begin + second, true
				}
			}
		}
	}
	return 0, false
}
