package schedule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// openEnd is the end of a span that goes as far as its field.
const openEnd = math.MaxInt

// names are the calendar events that have one, written out.
var names = map[string]string{ //nolint:gochecknoglobals // a constant that Go cannot say
	"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "weekly": "Mon *-*-* 00:00:00",
	"monthly": "*-*-01 00:00:00", "quarterly": "*-01,04,07,10-01 00:00:00",
	"semiannually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00",
	"biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00",
	"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00",
}

var weekdays = []string{ //nolint:gochecknoglobals // likewise
	"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
}

// parseCalendar parses a calendar event of systemd: weekdays, a date, a time and a time zone, each of
// which may be left out, as long as one of the first three is there.
func parseCalendar(text string) (s spec, zone *time.Location, err error) {
	words := strings.Fields(text)
	if len(words) > 1 {
		if zone = zoneOf(words[len(words)-1]); zone != nil {
			words = words[:len(words)-1]
		}
	}
	if len(words) == 1 && names[strings.ToLower(words[0])] != "" {
		words = strings.Fields(names[strings.ToLower(words[0])])
	}
	if len(words) == 0 {
		return s, zone, errors.New("it is empty")
	}
	zero := field{{0, 0, 1}}
	s.hour, s.minute, s.second = zero, zero, zero
	if isWeekdays(words[0]) {
		if s.weekday, err = parseWeekdays(words[0]); err != nil {
			return s, zone, err
		}
		words = words[1:]
	}
	if len(words) > 0 && !strings.Contains(words[0], ":") {
		if err = s.parseDate(words[0]); err != nil {
			return s, zone, err
		}
		words = words[1:]
	}
	if len(words) > 0 {
		if err = s.parseTime(words[0]); err != nil {
			return s, zone, err
		}
		words = words[1:]
	}
	if len(words) > 0 {
		return s, zone, fmt.Errorf("unexpected %q: the order is weekdays, date, time, time zone", words[0])
	}
	return s, zone, nil
}

// zoneOf returns the time zone of that name, or nil.
func zoneOf(word string) *time.Location {
	if strings.EqualFold(word, "utc") {
		return time.UTC
	}
	if first := word[0]; first < 'A' || first > 'Z' || isWeekdays(word) || word == "Local" {
		return nil
	}
	zone, err := time.LoadLocation(word)
	if err != nil {
		return nil
	}
	return zone
}

// isWeekdays reports whether a word begins with the name of a weekday.
func isWeekdays(word string) bool {
	return len(word) >= 3 && weekdayOf(word[:3]) >= 0
}

// weekdayOf returns the number of a weekday from its name, or its first three letters; -1 = none.
func weekdayOf(name string) int {
	name = strings.ToLower(name)
	return slices.IndexFunc(weekdays, func(full string) bool { return name == full || name == full[:3] })
}

// parseWeekdays parses a list of weekdays and of ranges, such as Mon..Fri,Sun.
func parseWeekdays(word string) (f field, err error) {
	for part := range strings.SplitSeq(strings.TrimSuffix(word, ","), ",") {
		first, last, isRange := strings.Cut(part, "..")
		if !isRange {
			first, last, isRange = strings.Cut(part, "-")
		}
		if !isRange {
			last = first
		}
		from, to := weekdayOf(first), weekdayOf(last)
		switch {
		case from < 0 || to < 0:
			return nil, fmt.Errorf("invalid weekdays %q: use Mon, Mon,Wed or Mon..Fri", part)
		case to == 0 && from > 0: // the week ends with Sunday
			f = append(f, span{0, 0, 1})
			to = 6
		case from == 0 && to > 0 || to < from:
			return nil, fmt.Errorf("invalid weekdays %q: a week begins with Mon and ends with Sun", part)
		}
		f = append(f, span{from, to, 1})
	}
	return f, nil
}

// parseDate parses YEAR-MONTH-DAY or MONTH-DAY; with ~ instead of the last -, days are counted from
// the end of the month.
func (s *spec) parseDate(word string) error {
	rest, day, found := strings.Cut(word, "~")
	s.fromEnd = found
	parts := strings.Split(rest, "-")
	if !found {
		day, parts = parts[len(parts)-1], parts[:len(parts)-1]
	}
	if len(parts) < 1 || len(parts) > 2 {
		return fmt.Errorf("invalid date %q: use 2026-12-31, 12-31 or *-*-01, and 03:00 for a time", word)
	}
	var err error
	if len(parts) == 2 {
		if s.year, err = parseChain(parts[0], bounds{name: "year", from: 1970, to: lastYear}); err != nil {
			return err
		}
		parts = parts[1:]
	}
	if s.month, err = parseChain(parts[0], bounds{name: "month", from: 1, to: 12}); err != nil {
		return err
	}
	days := bounds{name: "day", from: 1, to: 31}
	if s.fromEnd {
		days.fromEnd, days.to = true, 28 // every month has so many
	}
	if s.day, err = parseChain(day, days); err != nil {
		return err
	}
	s.fromEnd = s.fromEnd && s.day != nil
	return nil
}

// parseTime parses HOUR:MINUTE or HOUR:MINUTE:SECOND.
func (s *spec) parseTime(word string) error {
	parts := strings.Split(word, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("invalid time %q: use 03:00 or 03:00:30", word)
	}
	limits := []bounds{{name: "hour", to: 23}, {name: "minute", to: 59}, {name: "second", to: 59}}
	for i, field := range []*field{&s.hour, &s.minute, &s.second}[:len(parts)] {
		f, err := parseChain(parts[i], limits[i])
		if err != nil {
			return err
		}
		*field = f
	}
	return nil
}

// bounds are the name and the limits of a field.
type bounds struct {
	name     string
	from, to int
	fromEnd  bool // they count from the end of the month
}

// parseChain parses *, or a list of values and ranges, each with a step or without, such as 0/15 or
// 9..17.
func parseChain(text string, b bounds) (f field, err error) {
	if text == "*" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseSpan(part, b)
		if err != nil {
			return nil, err
		}
		f = append(f, s)
	}
	return f, nil
}

func parseSpan(text string, b bounds) (s span, err error) {
	values, step, stepped := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(values, "..")
	wrong := func(what, use string) (span, error) {
		return span{}, fmt.Errorf("invalid %s %q: %s: use %s", b.name, text, what, use)
	}
	if s.from, err = b.value(first); err != nil {
		return wrong(err.Error(), fmt.Sprintf("%d to %d, * or 0/15", b.from, b.to))
	}
	s.to, s.step = s.from, 1
	if stepped {
		if s.step, err = number(step); err != nil || s.step < 1 || !ranged && s.step > b.most(s.from) {
			return wrong("its step is not in the limits", fmt.Sprintf("%d/N with an N of 1 or more", b.from))
		}
		s.to = openEnd
	}
	if !ranged {
		return s, nil
	}
	if s.to, err = b.number(last); err != nil {
		return wrong(err.Error(), fmt.Sprintf("a range such as %d..%d", b.from, b.to))
	}
	if s.to < s.from {
		return wrong("it ends before it begins", "two ranges")
	}
	if s.to -= (s.to - s.from) % s.step; s.to > b.to { // the last value that matches counts
		return wrong("it is not in the limits", fmt.Sprintf("a range such as %d..%d", b.from, b.to))
	}
	return s, nil
}

// most returns the largest step from a value on.
func (b bounds) most(from int) int {
	if b.fromEnd {
		return from - b.from
	}
	return b.to - from
}

// value parses a value within the limits.
func (b bounds) value(text string) (int, error) {
	v, err := b.number(text)
	if err == nil && (v < b.from || v > b.to) {
		err = errors.New("it is not in the limits")
	}
	return v, err
}

// number parses a value. A year of two digits is one from 1970 to 2069.
func (b bounds) number(text string) (int, error) {
	v, err := number(text)
	if b.name == "year" && err == nil && v < 100 {
		if v += 1900; v < 1970 {
			v += 100
		}
	}
	return v, err
}

// number parses digits, without a sign.
func number(text string) (int, error) {
	v, err := strconv.ParseUint(text, 10, 31)
	switch {
	case strings.Contains(text, "."):
		return 0, errors.New("it is not a whole number")
	case err != nil:
		return 0, errors.New("it is not a number")
	}
	return int(v), nil
}
