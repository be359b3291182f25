package fleet

import "testing"

func TestFollowingLogsLeavesNoProcessBehind(t *testing.T) {
	o := newOperator(t)
	const follows = `pgrep -f '^superctl --app shop logs' >/dev/null`
	for _, end := range []string{"-INT", "-KILL"} {
		o.superctl("exec", "true").Want(0)
		logs := o.superctl("logs", "-f")
		o.f.Each(t, func(h *Host) {
			h.Run(t, "timeout", "60", "sh", "-c", "until "+follows+"; do sleep 0.1; done").Want(0)
		})
		o.f.Operator(t, "pkill", end, "-f", "@production --config "+o.config+" logs").Want(0)
		logs.Ended()
		o.f.Each(t, func(h *Host) {
			h.Run(t, "timeout", "60", "sh", "-c", "while "+follows+"; do sleep 0.1; done").Want(0)
		})
	}
}
