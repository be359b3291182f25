package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/robfig/cron/v3"
)

// cronStar is the bit with which the library marks a field that any value matches.
const cronStar = 1 << 63

// cronSunday matches Sunday as 7, which the library does not know: alone, or at the end of a range.
var cronSunday = regexp.MustCompile(`(^|,)(?:(\w+)-)?7(,|$)`)

// parseCron parses five fields of cron, or a name such as @daily.
func parseCron(words []string) (spec, error) {
	if strings.Contains(words[0], "TZ=") {
		return spec{}, fmt.Errorf("%s: set timezone instead", words[0])
	}
	switch words[0] {
	case "@every":
		return spec{}, fmt.Errorf(`%s: write "*/15 * * * *" for every 15 minutes`, words[0])
	case "@reboot":
		return spec{}, fmt.Errorf("%s: superctl runs no command at its start: write a time, such as @daily", words[0])
	}
	if len(words) == 5 {
		for old := ""; old != words[4]; { // two in a row share a comma
			old = words[4]
			words[4] = cronSunday.ReplaceAllStringFunc(words[4], withoutSeven)
		}
	}
	parsed, err := cron.ParseStandard(strings.Join(words, " "))
	if err != nil {
		return spec{}, explain(words, err)
	}
	c, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return spec{}, errors.New("it has no times of the day")
	}
	s := spec{
		second: ofBits(c.Second, 0, 59), minute: ofBits(c.Minute, 0, 59), hour: ofBits(c.Hour, 0, 23),
		day: ofBits(c.Dom, 1, 31), month: ofBits(c.Month, 1, 12), weekday: ofBits(c.Dow, 0, 6),
		either: c.Dom&cronStar == 0 && c.Dow&cronStar == 0,
	}
	for _, f := range []field{s.minute, s.hour, s.day, s.month, s.weekday} {
		if len(f) == 0 {
			return spec{}, errors.New("a field has no value")
		}
	}
	return s, nil
}

// cronFields are the fields of a crontab's schedule, and what to write in each.
var cronFields = []struct{ name, use string }{ //nolint:gochecknoglobals // a constant that Go cannot say
	{"minute", "0 to 59, *, */15, 1-5 or 1,15"},
	{"hour", "0 to 23, *, */6, 9-17 or 9,17"},
	{"day of the month", "1 to 31, *, */2, 1-7 or 1,15"},
	{"month", "1 to 12, jan to dec, *, */3, 1-6 or 1,7"},
	{"day of the week", "0 to 6 (0 is Sunday), sun to sat, *, 1-5 or 1,3"},
}

// explain returns an error that names the field which the library does not understand, and what to write there.
func explain(words []string, err error) error {
	if strings.HasPrefix(words[0], "@") {
		return fmt.Errorf("invalid name %s: use @hourly, @daily, @weekly, @monthly or @yearly", strings.Join(words, " "))
	}
	for i, f := range cronFields {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = words[i]
		if _, wrong := cron.ParseStandard(strings.Join(alone, " ")); wrong != nil {
			return fmt.Errorf("invalid %s %q: use %s", f.name, words[i], f.use)
		}
	}
	return err
}

// looksLikeCron reports whether a schedule that is no crontab's by its number of fields was meant as one: a calendar
// event of systemd has at most four words, and none of these begins with a star or a number without a colon or dash.
func looksLikeCron(words []string) bool {
	n := 0
	for _, w := range words {
		if cronWord.MatchString(w) {
			n++
		}
	}
	return n > 1
}

var cronWord = regexp.MustCompile(`^[*\d][\d,/]*$`)

// withoutSeven writes Sunday as 0.
func withoutSeven(match string) string {
	parts := cronSunday.FindStringSubmatch(match)
	sunday := "0"
	if parts[2] == "0" || strings.EqualFold(parts[2], "sun") {
		sunday = "0-6"
	} else if parts[2] != "" && parts[2] != "7" {
		sunday = parts[2] + "-6,0"
	}
	return parts[1] + sunday + parts[3]
}

// ofBits returns the values whose bits are set.
func ofBits(bits uint64, from, to int) (f field) {
	for v := from; v <= to; v++ {
		if bits&(1<<v) != 0 {
			f = append(f, span{v, v, 1})
		}
	}
	return f
}
