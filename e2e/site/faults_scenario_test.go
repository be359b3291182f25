package site

import (
	"strings"

	"superctl/e2e/harness"
)

// everyStep returns the options of an app whose switch has all possible steps.
const (
	clock     = "[process.clock]\ncommand = \"python -m http.server --bind 127.0.0.1 0\"\nready_after = \"50ms\"\n"
	everyHook = "[hooks]\nbefore = [\"true\"]\nafter = [\"true\"]\non_abort = [\"true\"]\non_revert = [\"true\"]\n"
)

func everyStep() harness.Options {
	return harness.Options{Top: `probation = "100ms"`, More: clock + everyHook}
}

// scenario is an operation of the daemon while the app serves. It begins with r1 or r2 live.
type scenario struct {
	name    string
	opt     harness.Options
	prepare func(w *walk)
	act     func(w *walk)
	cold    bool // nothing serves before act
	// connections wait for a daemon; when it dies, only systemd's descriptor store would keep them
	held   bool
	static bool // releases publish a static file
	paged  bool // users get a maintenance page for a while: 503 is an answer
	// at is where the daemon dies in `make test`: points that no other scenario covers; empty =
	// every point. `make test-deaths` walks all points of all scenarios.
	at []string
}

func scenarios() []scenario {
	command := func(args ...string) func(*walk) { return func(w *walk) { w.Command(args...) } }
	warm := everyStep()
	warm.Top += "\nstandby = \"10m\""
	shared := everyStep()
	shared.Listen = `gate = "shared"`
	rolling := everyStep()
	rolling.Web = "strategy = \"rolling\"\ninstances = 2"
	inspected := everyStep()
	inspected.More = strings.Replace(inspected.More, `before = ["true"]`, `before = ["true migrate"]`, 1) + checked
	held := everyStep()
	held.Web = `strategy = "hold"`
	late := everyStep()
	late.Web = "strategy = \"hold\"\nhold = \"4s\"\nhold_page = true"
	late.More = strings.Replace(late.More, `["true"]`, `["sleep 5"]`, 1)
	unix := everyStep()
	unix.Front = harness.Unix
	linked := everyStep()
	linked.More += "\n[shared]\nmedia = \"/var/tmp\"\n"
	published := everyStep()
	// The rename makes a new file, where writing would change the one that is published.
	published.More = strings.Replace(published.More, `["true"]`, `[["sh", "-c", "mkdir -p static && `+
		`echo $SUPERCTL_RELEASE > static/.new && mv static/.new static/site.txt"]]`, 1)
	return []scenario{
		{name: "switch", opt: everyStep(), act: switchOver},
		{name: "switch with shared paths", opt: linked, act: switchOver, at: []string{"switch: after share"}},
		{name: "switch with static files", opt: published, act: switchOver, static: true, at: []string{
			"switch: before publish", "switch: after publish", "switch: after cutover",
		}},
		{
			name: "switch with static files that is taken back", opt: published, act: (*walk).takenBack, static: true,
			at: []string{"switch: before revert", "switch: after revert"},
		},
		{name: "switch on a shared listener", opt: shared, act: switchOver, at: []string{
			"switch: after preflight", "switch: after cutover",
		}},
		{name: "switch that is refused", opt: inspected, act: refused, at: []string{
			"switch: after migrations", "switch: after on_abort",
		}},
		{name: "switch that is taken back", opt: everyStep(), act: (*walk).takenBack, at: []string{
			"switch: before revert", "switch: after revert", "switch: after on_revert",
		}},
		{name: "switch that is held", opt: held, act: switchOver, held: true, at: []string{
			"switch: after quiesce", "switch: after hold", "switch: after drain", "switch: before prove",
		}},
		{name: "switch that is held for too long", opt: late, act: switchOver, held: true, at: []string{
			"switch: after preflight", "switch: before prove",
		}},
		{name: "switch that is held and refused", opt: held, act: refused, held: true, at: []string{
			"switch: after come back",
		}},
		{name: "switch with a canary", opt: everyStep(), act: canary("true"), at: []string{
			"switch: during canary", "switch: after canary",
		}},
		{name: "switch with a canary that is refused", opt: everyStep(), act: canary("false"), at: []string{
			"switch: after withdraw",
		}},
		{name: "switch that is prepared", opt: everyStep(), act: (*walk).prepared, at: []string{"switch: after ready"}},
		{name: "switch that rolls", opt: rolling, act: switchOver, at: []string{
			"switch: after roll", "switch: after cutover",
		}},
		{name: "switch that rolls and is refused", opt: rolling, act: refused, at: []string{"switch: after come back"}},
		{name: "rollback", opt: everyStep(), prepare: switchOver, act: command("rollback"), at: []string{
			"rollback: after cutover",
		}},
		{
			name: "rollback to a warm generation", opt: warm, prepare: switchOver, act: command("rollback"),
			at: []string{"rollback: after cutover"},
		},
		{name: "reload", opt: everyStep(), act: command("reload"), at: []string{"reload: after cutover"}},
		{name: "restart with a listener", opt: everyStep(), act: command("restart", "web"), at: []string{
			"restart: after cutover",
		}},
		{name: "restart without a listener", opt: everyStep(), act: command("restart", "clock"), at: []string{
			"restart: after restart",
		}},
		{name: "recycling", opt: everyStep(), prepare: (*walk).unlimited, act: (*walk).recycled, at: []string{
			"restart: after boot", "restart: before cutover", "restart: after cutover", "restart: before retire",
		}},
		{name: "scale", opt: everyStep(), act: (*walk).scaled, at: []string{"scale: after scale"}},
		{name: "pause and resume", opt: everyStep(), act: (*walk).paused, at: []string{
			"pause: after pause", "resume: after resume",
		}},
		{name: "maintenance", opt: everyStep(), act: (*walk).maintained, paged: true, at: []string{
			"maintenance: after boot", "maintenance: before cutover", "maintenance: after cutover",
		}},
		{name: "maintenance on a unix socket", opt: unix, act: (*walk).maintained, paged: true, at: []string{
			"maintenance: after prove", "maintenance: after cutover",
		}},
		{
			name: "end of maintenance", opt: everyStep(), prepare: (*walk).covered, act: (*walk).uncovered, paged: true,
			at: []string{"maintenance: after prove", "maintenance: after cutover"},
		},
		{
			name: "end of maintenance on a unix socket", opt: unix, prepare: (*walk).covered, act: (*walk).uncovered,
			paged: true, at: []string{"maintenance: before cutover", "maintenance: after cutover"},
		},
		{name: "upgrade", opt: everyStep(), act: command("upgrade"), at: []string{
			"upgrade: after check", "upgrade: before hand over", "recover: after adopt workers",
			"recover: after take charge", "upgrade: after hand over",
		}},
		{name: "adoption", opt: everyStep(), prepare: (*walk).crash, act: (*walk).launch},
		{
			name: "adoption in the middle of a switch", opt: everyStep(), prepare: crashAt("switch: before settle"),
			act: (*walk).launch, at: []string{"recover: after adopt the live generation", "start: after settle"},
		},
		{
			name: "adoption in the middle of a revert", opt: everyStep(), prepare: crashAt("switch: before revert"),
			act: (*walk).launch, at: []string{"start: after revert"},
		},
		{
			name: "start", opt: everyStep(), prepare: func(w *walk) { w.Daemon.Stop() }, act: (*walk).launch,
			cold: true, at: []string{"start: after boot", "start: after cutover"},
		},
	}
}
