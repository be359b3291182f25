package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"superctl/schedule"
)

// Cron is one [cron.NAME]: a command that runs at certain times.
type Cron struct {
	Name     string
	Schedule string // as written
	Timezone string // "" = that of the machine
	Command  []string
	Overlap  string        // forbid, allow or replace
	Timeout  time.Duration // after which a run is ended
	One      bool          // only on one host of a fleet
}

// Due is the schedule in its time zone.
func (c *Cron) Due() (*schedule.Schedule, error) {
	zone, err := time.LoadLocation(c.zone())
	if err != nil {
		return nil, err
	}
	return schedule.Parse(c.Schedule, zone)
}

// zone is the name of the time zone, as package time has it.
func (c *Cron) zone() string {
	if c.Timezone == "" {
		return "Local"
	}
	return c.Timezone
}

// cronTable is [cron.NAME].
type cronTable struct {
	Schedule string    `toml:"schedule"`
	Command  any       `toml:"command"` // a string of shell words, or a list
	Timezone string    `toml:"timezone"`
	Overlap  string    `toml:"overlap"`
	Timeout  *duration `toml:"timeout"`
	On       string    `toml:"on"`
}

// defaultCronTime is long for most commands: one that hangs must end some time, because by default it
// keeps all later runs from beginning.
const defaultCronTime = time.Hour

// Overlaps are the values of overlap: what happens when a command is due while it still runs.
var Overlaps = []string{"forbid", "allow", "replace"} //nolint:gochecknoglobals // a constant that Go cannot say

// crons parses [cron].
func (l *loader) crons() (list []Cron) {
	for _, name := range slices.Sorted(maps.Keys(l.f.Cron)) {
		key, t := "cron."+name, l.f.Cron[name]
		if !isItemName(name) {
			l.at(key, "scheduled command %q: use letters, digits, - and _, at most %d", name, maxName)
		}
		if _, taken := l.f.Process[name]; taken {
			l.at(key, "%s: process.%s has the same name, and the log tells them apart by it: rename one", key, name)
		}
		c := Cron{
			Name: name, Schedule: t.Schedule, Timezone: t.Timezone, Overlap: t.Overlap, One: t.On == "one",
			Timeout: l.duration(key+".timeout", t.Timeout, defaultCronTime, time.Second),
		}
		if t.Command == nil {
			l.at(key, `%s has no command: write command = "python manage.py clearsessions"`, key)
		} else {
			c.Command = l.words(key+".command", key, t.Command)
		}
		if c.Overlap == "" {
			c.Overlap = Overlaps[0]
		} else if !slices.Contains(Overlaps, c.Overlap) {
			l.at(key+".overlap", "overlap = %q: use one of %s", t.Overlap, strings.Join(Overlaps, ", "))
		}
		if t.On != "" && !c.One {
			l.at(key+".on", `on = %q: use "one", for one host of a fleet, or leave it out`, t.On)
		}
		l.schedule(key, &c)
		list = append(list, c)
	}
	return list
}

// schedule checks the times of a command.
func (l *loader) schedule(key string, c *Cron) {
	if c.Schedule == "" {
		l.at(key, `%s has no schedule: write schedule = "*/15 * * * *" or "Sun 03:00"`, key)
		return
	}
	zone, err := time.LoadLocation(c.zone())
	if err != nil || c.Timezone == "Local" {
		l.at(key+".timezone", `timezone = %q is not known here: use a name such as "Europe/Berlin" (timedatectl list-timezones)`,
			c.Timezone)
		return
	}
	s, err := schedule.Parse(c.Schedule, zone)
	if err != nil {
		l.at(key+".schedule", "schedule = %q: %v", c.Schedule, err)
		return
	}
	if c.Timezone != "" && s.Zone() != zone && s.Zone().String() != zone.String() {
		l.at(key+".timezone", "schedule = %q has a time zone already: leave out timezone", c.Schedule)
	}
}
