package servers

import (
	"strings"
	"testing"
)

func TestASchedulerOfWhichTwoWouldRunIsWarnedOf(t *testing.T) {
	for command, warned := range map[string]bool{
		"python manage.py run_scheduler":               true,
		"python -m shop.scheduler":                     true,
		"rqscheduler --interval 5":                     true,
		"supercronic /etc/shop.crontab":                true,
		"python clock.py":                              true,
		"uv run python cron.py":                        true,
		"rq worker default":                            false,
		"celery -A shop beat --schedule /var/lib/beat": false, // whose own warning says it
		"gunicorn shop.wsgi":                           false,
		"python manage.py process_tasks --queue cron":  false,
	} {
		t.Run(command, func(t *testing.T) {
			for _, single := range []bool{false, true} {
				a := Apply(Input{Command: strings.Fields(command), Single: single})
				says := strings.Contains(strings.Join(a.Warnings, "\n"), "looks like a scheduler")
				if says != (warned && !single) {
					t.Errorf("single %t: %q", single, a.Warnings)
				}
			}
		})
	}
}

func TestUWSGIsOwnTimersAreWarnedOf(t *testing.T) {
	for _, single := range []bool{false, true} {
		a := Apply(Input{
			Command: []string{
				"uwsgi", "--module", "shop.wsgi", "--cron=5 -1 -1 -1 -1 /bin/true",
			}, Listen: []string{"web"},
			Unix: []string{""}, Single: single,
		})
		if says := strings.Contains(strings.Join(a.Warnings, "\n"), "its jobs start twice"); says == single {
			t.Errorf("single %t: %q", single, a.Warnings)
		}
	}
}
