package supervisor

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// scenario is all that decides a run: what the site is like, and what happens to it. Everything
// else follows from the seed.
type scenario struct {
	Found   string       `json:"found,omitempty"` // of a past failure: what it showed
	Seed    uint64       `json:"seed"`
	Site    simSite      `json:"site"`
	Actions []simAction  `json:"actions"`
	Bad     []simRelease `json:"releases"`
}

// simSite is the app: its config, and the machine.
type simSite struct {
	Gate      string   `json:"gate"` // steer, rename, shared
	Listeners int      `json:"listeners"`
	Web       Strategy `json:"web"`
	Instances int      `json:"instances"`
	Worker    Strategy `json:"worker,omitempty"` // of a background process; "" = there is none
	Single    bool     `json:"single,omitempty"` // there is a process of which two must never run
	After     bool     `json:"after,omitempty"`  // it starts after the other background process
	Standby   bool     `json:"standby,omitempty"`
	Linger    bool     `json:"linger,omitempty"` // drain_connections
	Always    bool     `json:"always,omitempty"` // continuous health checks
	Store     bool     `json:"store,omitempty"`  // systemd's descriptor store
	Look      bool     `json:"look,omitempty"`
	Ready     bool     `json:"ready,omitempty"`   // its web workers say READY=1
	Recycle   bool     `json:"recycle,omitempty"` // workers that leak are replaced
	SlowDisk  int      `json:"slow_disk_ms,omitempty"`

	Cron    CronOverlap `json:"cron,omitempty"` // of a scheduled command; "" = there is none
	Assets  bool        `json:"assets,omitempty"`
	Guard   bool        `json:"guard,omitempty"`
	Control int         `json:"control,omitempty"` // what the old release keeps in the probation, in 10,000
	Strikes bool        `json:"strikes,omitempty"` // faults happen while the guard compares
	Rate    string      `json:"rate,omitempty"`    // revert, warn: the guard judges whether a release answers at all
	Freezes bool        `json:"freezes,omitempty"` // what all releases depend on hangs, where it fails else

	Hold     int  `json:"hold_ms,omitempty"`   // of a web process that is held; 0 = simHold
	HoldPage bool `json:"hold_page,omitempty"` // connections that would wait longer get a page
}

// simRelease is how the workers and hooks of a release act. The zero value is a good release.
type simRelease struct {
	Name   string `json:"name"`
	Boot   int    `json:"boot_ms,omitempty"`
	Health string `json:"health,omitempty"` // bad, silent, flaky, late (healthy at first)
	Start  string `json:"start,omitempty"`  // fails, hangs, dies (at once), dies late
	Stop   string `json:"stop,omitempty"`   // slow, never
	Worker string `json:"worker,omitempty"` // dies: its background processes do
	Hook   string `json:"hook,omitempty"`   // before fails, before hangs, after fails, on_abort hangs, slow, ...
	Errors string `json:"errors,omitempty"` // half, all: of its requests
	Leaves bool   `json:"leaves,omitempty"` // children outlive a worker that is killed, until they are

	Silent   int  `json:"silent_ms,omitempty"` // of a worker, after which it answers probes only; 0 = it always answers
	Hookless bool `json:"hookless,omitempty"`  // its workers have no drain hook
}

// simAction is one thing that happens, at a time since the beginning.
type simAction struct {
	At      int    `json:"at_ms"`
	Do      string `json:"do"`
	Release string `json:"release,omitempty"`
	Process string `json:"process,omitempty"`
	N       int    `json:"n,omitempty"`
	For     int    `json:"for_ms,omitempty"`
}

func (a simAction) String() string {
	text := fmt.Sprintf("%7.3f %s", float64(a.At)/1000, a.Do)
	for _, part := range []string{a.Release, a.Process} {
		if part != "" {
			text += " " + part
		}
	}
	if a.N != 0 {
		text += fmt.Sprintf(" n=%d", a.N)
	}
	if a.For != 0 {
		text += fmt.Sprintf(" for %s", time.Duration(a.For)*time.Millisecond)
	}
	return text
}

// String is the scenario as a person reads it.
func (sc scenario) String() string {
	var b strings.Builder
	s := sc.Site
	fmt.Fprintf(&b, "seed %d: ", sc.Seed)
	if s.Listeners == 0 {
		fmt.Fprintf(&b, "no listener, x%d", s.Instances)
	} else {
		fmt.Fprintf(&b, "%d %s listener(s), web %s x%d", s.Listeners, s.Gate, s.Web, s.Instances)
	}
	for _, part := range []struct {
		has  bool
		text string
	}{
		{s.Worker != "", "worker " + string(s.Worker)},
		{s.Single, "beat single"},
		{s.After, "after worker"},
		{s.Standby, "standby"},
		{s.Linger, "drain_connections"},
		{s.Always, "health always"},
		{s.Store, "descriptor store"},
		{s.Look, "look"},
		{s.Ready, "READY=1"},
		{s.Recycle, "recycle"},
		{s.Cron != "", "cron " + string(s.Cron)},
		{s.Assets, "static files"},
		{s.SlowDisk > 0, fmt.Sprintf("a disk that takes %d ms", s.SlowDisk)},
		{s.Guard, "guard"},
		{s.Control > 0, fmt.Sprintf("a control of %d", s.Control)},
		{s.Strikes, "faults while it compares"},
		{s.Rate != "", "rate " + s.Rate},
		{s.Freezes, "what all depend on hangs"},
		{s.Hold > 0, fmt.Sprintf("hold for %d ms", s.Hold)},
		{s.HoldPage, "hold_page"},
	} {
		if part.has {
			b.WriteString(", " + part.text)
		}
	}
	b.WriteString("\n")
	for _, r := range sc.Bad {
		fmt.Fprintf(&b, "  %+v\n", r)
	}
	for _, a := range sc.Actions {
		fmt.Fprintf(&b, "  %s\n", a)
	}
	return b.String()
}

// simActions are the things that happen, with how often each does.
var simActions = []struct {
	do     string
	weight int
}{
	{"switch", 22},
	{"canary", 5},
	{"rollback", 9},
	{"reload", 5},
	{"restart", 6},
	{"restart one", 3},
	{"scale", 6},
	{"pause", 2},
	{"resume", 2},
	{"upgrade", 5},
	{"hang up", 5}, // the newest client does

	{"kill daemon", 6},
	{"kill daemon and crash", 3}, // a worker dies while no daemon runs
	{"crash and leave", 3},       // the daemon goes in the middle of the start of another worker
	{"kill at event", 9},
	{"kill at point", 9},
	{"leave", 4}, // systemctl restart
	{"power", 2},

	{"crash", 6},
	{"crash all", 2},
	{"wedge", 2}, // workers do not answer any more
	{"disk", 5},
	{"history", 2},
	{"port", 2},
	{"gate", 2}, // the next turns of a gate fail
	{"lose listener", 2},
	{"store", 2}, // the store takes nothing
}

// simScenario is what a seed decides.
func simScenario(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, 0x5eed)) //nolint:gosec // it must be the same for the same seed
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	chance := func(percent int) bool { return r.IntN(100) < percent }
	sc := scenario{Seed: seed, Site: simSite{
		Gate: pick("steer", "steer", "steer", "rename", "shared"), Listeners: 1,
		Web:       Strategy(pick("overlap", "overlap", "overlap", "rolling", "rolling", "hold")),
		Instances: 1 + r.IntN(3), Standby: chance(50), Linger: chance(30), Always: chance(30), Store: chance(75),
		Look: chance(40), Single: chance(60),
	}}
	if chance(30) {
		sc.Site.Listeners = 2
	}
	if chance(60) {
		sc.Site.Worker = Strategy(pick("overlap", "rolling"))
		sc.Site.After = sc.Site.Single && chance(50)
	}
	sc.Bad = []simRelease{{Name: "r1"}, {Name: "r2", Boot: 300, Stop: pick("", "slow")}}
	for i := 3; i <= 6; i++ {
		b := simRelease{Name: fmt.Sprint("r", i), Boot: 20 + r.IntN(900), Leaves: chance(25)}
		if chance(25) {
			b.Stop = pick("slow", "never")
		}
		switch r.IntN(7) {
		case 0:
			b.Health = pick("bad", "silent", "flaky", "late", "late")
		case 1:
			b.Start = pick("fails", "hangs", "dies", "dies late")
		case 2:
			b.Worker = "dies"
		case 3:
			b.Hook = pick("before fails", "before hangs", "after fails", "slow", "on_abort fails", "on_abort hangs", "on_revert hangs")
		}
		sc.Bad = append(sc.Bad, b)
	}
	total := 0
	for _, a := range simActions {
		total += a.weight
	}
	at := 3000
	for range 4 + r.IntN(12) {
		at += gap(r)
		n := r.IntN(total)
		for _, a := range simActions {
			if n -= a.weight; n < 0 {
				sc.Actions = append(sc.Actions, simAction{
					At: at, Do: a.do, Release: fmt.Sprint("r", 1+r.IntN(6)), Process: pick(
						"web", "web", "worker", "beat",
					), N: 1 + r.IntN(120), For: 200 + r.IntN(12_000),
				}.tidied())
				break
			}
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
	sc.Site.Ready = chance(40)
	sc.prepare(rand.New(rand.NewPCG(seed, 0x9e4d)))   //nolint:gosec // likewise
	sc.leak(rand.New(rand.NewPCG(seed, 0x1eac)))      //nolint:gosec // likewise
	sc.maintain(rand.New(rand.NewPCG(seed, 0x503)))   //nolint:gosec // likewise
	sc.slow(rand.New(rand.NewPCG(seed, 0xd15c)))      //nolint:gosec // likewise
	sc.follow(rand.New(rand.NewPCG(seed, 0xf01)))     //nolint:gosec // likewise
	sc.schedule(rand.New(rand.NewPCG(seed, 0xc40)))   //nolint:gosec // likewise
	sc.assets(rand.New(rand.NewPCG(seed, 0xa55e7)))   //nolint:gosec // likewise
	sc.guard(rand.New(rand.NewPCG(seed, 0x6a4d)))     //nolint:gosec // likewise
	sc.cover(rand.New(rand.NewPCG(seed, 0xc07e4)))    //nolint:gosec // likewise
	sc.silence(rand.New(rand.NewPCG(seed, 0x51e7)))   //nolint:gosec // likewise
	sc.background(rand.New(rand.NewPCG(seed, 0xbac))) //nolint:gosec // likewise
	return sc
}

// cover gives most sites that hold connections a limit that is often too short, and a page for those
// that would wait longer, and adds what may meet a hold that lasts too long.
func (sc *scenario) cover(r *rand.Rand) {
	if sc.Site.Web != Hold || r.IntN(4) == 0 {
		return
	}
	sc.Site.Hold, sc.Site.HoldPage = 100+r.IntN(8000), r.IntN(4) > 0
	last := sc.Actions[len(sc.Actions)-1].At
	for range 1 + r.IntN(3) {
		a := simAction{At: 3000 + r.IntN(last), Do: "switch", Release: fmt.Sprint("r", 1+r.IntN(6))}
		sc.Actions = append(sc.Actions, a)
		trouble := []string{
			"", "hang up", "maintenance", "kill daemon", "kill at event", "kill at point", "leave", "power", "gate", "disk", "crash", "upgrade",
		}[r.IntN(12)]
		if trouble != "" {
			sc.Actions = append(sc.Actions, simAction{
				At: a.At + sc.Site.Hold - 50 + r.IntN(3000), Do: trouble, Process: pageProcess, N: r.IntN(40), For: 200 + r.IntN(5000),
			}.tidied())
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// prepare adds prepared changes to a third of the scenarios, and troubles while they wait. It draws
// from a stream of its own, so that the others stay as they were.
func (sc *scenario) prepare(r *rand.Rand) {
	if r.IntN(3) > 0 {
		return
	}
	last := sc.Actions[len(sc.Actions)-1].At
	for range 1 + r.IntN(2) {
		a := simAction{
			At: 3000 + r.IntN(last), Do: "prepare", Release: fmt.Sprint("r", r.IntN(7)), N: r.IntN(5), For: 200 + r.IntN(8000),
		}
		sc.Actions = append(sc.Actions, a)
		trouble := []string{"", "", "kill daemon", "crash", "wedge", "leave", "rollback"}[r.IntN(7)]
		if trouble != "" {
			sc.Actions = append(sc.Actions, simAction{
				At: a.At + 500 + r.IntN(6000), Do: trouble, Process: "web", N: r.IntN(9), For: 200 + r.IntN(5000),
			}.tidied())
		}
	}
	if r.IntN(2) == 0 {
		for range 1 + r.IntN(3) {
			sc.Actions = append(sc.Actions, simAction{
				At: 3000 + r.IntN(last), Do: []string{"expect", "go back from"}[r.IntN(2)],
				Release: fmt.Sprint("r", 1+r.IntN(6)), N: 1 + r.IntN(6),
			})
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// leak adds workers that leak, and are recycled, to a third of the scenarios, and what may meet a
// recycling. It draws from a stream of its own, too.
func (sc *scenario) leak(r *rand.Rand) {
	if r.IntN(3) > 0 {
		return
	}
	sc.Site.Recycle = true
	last := sc.Actions[len(sc.Actions)-1].At
	for range 1 + r.IntN(4) {
		a := simAction{
			At: 3000 + r.IntN(last), Do: "leak", Process: []string{"web", "web", "worker", "beat"}[r.IntN(4)], N: r.IntN(4),
		}
		sc.Actions = append(sc.Actions, a)
		trouble := []string{"", "", "switch", "rollback", "kill daemon", "kill daemon", "crash", "leave", "scale"}[r.IntN(9)]
		if trouble != "" {
			sc.Actions = append(sc.Actions, simAction{
				At: a.At + 1500 + r.IntN(4000), Do: trouble, Release: fmt.Sprint("r", 1+r.IntN(6)), Process: "web",
				N: 1 + r.IntN(9), For: 200 + r.IntN(5000),
			}.tidied())
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// maintain adds times of maintenance to a third of the scenarios, and what may meet their beginning or
// their end. It draws from a stream of its own, too.
func (sc *scenario) maintain(r *rand.Rand) {
	if r.IntN(3) > 0 || sc.Site.Gate == kindShared {
		return
	}
	last := sc.Actions[len(sc.Actions)-1].At
	for range 1 + r.IntN(2) {
		on := 3000 + r.IntN(last)
		off := on + 1000 + r.IntN(40_000)
		sc.Actions = append(sc.Actions, simAction{At: on, Do: "maintenance", N: 1 + r.IntN(2)}, simAction{At: off, Do: "maintenance"})
		for _, at := range []int{on, on + r.IntN(off-on), off} {
			trouble := []string{
				"", "", "switch", "rollback", "kill daemon", "kill at event", "kill at point", "crash", "leave", "power", "gate", "disk",
			}[r.IntN(12)]
			if trouble != "" {
				sc.Actions = append(sc.Actions, simAction{
					At: at - 50 + r.IntN(1000), Do: trouble, Release: fmt.Sprint("r", 1+r.IntN(6)),
					Process: []string{"web", pageProcess}[r.IntN(2)], N: r.IntN(40), For: 200 + r.IntN(5000),
				}.tidied())
			}
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// slow gives a quarter of the scenarios a disk that takes its time for a state file.
func (sc *scenario) slow(r *rand.Rand) {
	if r.IntN(4) == 0 {
		sc.Site.SlowDisk = 1 + r.IntN(60)
	}
}

// follow lets half of the clients that hang up vanish instead of cancel, and has a third of the
// scenarios follow and cancel changes from elsewhere.
func (sc *scenario) follow(r *rand.Rand) {
	for i := range sc.Actions {
		if a := &sc.Actions[i]; a.Do == "hang up" && r.IntN(2) == 0 {
			a.N = 1
		}
	}
	if r.IntN(3) > 0 {
		return
	}
	for _, a := range slices.Clone(sc.Actions) {
		if !slices.Contains([]string{"switch", "canary", "rollback", "reload", "restart", "scale", "prepare"}, a.Do) || r.IntN(3) > 0 {
			continue
		}
		sc.Actions = append(sc.Actions, simAction{
			At: a.At + 1 + r.IntN([]int{10, 1500, 8000}[r.IntN(3)]), Do: []string{"attach", "cancel"}[r.IntN(2)],
		})
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// gap is the time between two actions: a moment, or long enough for a change to end.
func gap(r *rand.Rand) int {
	switch r.IntN(4) {
	case 0:
		return 1 + r.IntN(500)
	case 1:
		return 500 + r.IntN(3000)
	default:
		return 3000 + r.IntN(30_000)
	}
}

// tidied leaves out what an action has no use for.
func (a simAction) tidied() simAction {
	switch a.Do {
	case "switch", "canary":
		a.Process, a.N, a.For = "", 0, 0
	case "scale":
		a.Release, a.For, a.N = "", 0, 1+a.N%4
	case "restart", "pause", "resume":
		a.Release, a.N, a.For = "", 0, 0
	case "restart one":
		a.Release, a.For, a.N = "", 0, a.N%4
	case "kill daemon and crash":
		a.Release = ""
	case "crash and leave":
		a.Release, a.For = "", 20*a.N
	case "crash", "crash all", "wedge":
		a.Release, a.For = "", 0
	case "kill at event", "kill at point":
		a.Release, a.Process = "", ""
		if a.Do == "kill at point" {
			a.N = 1 + a.N%24
		}
	case "rollback", "reload", "hang up":
		a.Release, a.Process, a.N, a.For = "", "", 0, 0
	case "disk":
		a.Release, a.Process, a.N = "", "", a.N%2
	case "upgrade":
		a.Release, a.Process, a.N, a.For = "", "", a.N%3, 0
	default:
		a.Release, a.Process, a.N = "", "", 0
	}
	return a
}
