package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"superctl/supervisor/requests"
)

// sim is one run of a scenario: a machine, the daemons that run on it one after the other, and what
// they are seen to do.
type sim struct {
	mu    sync.Mutex // guards all below, and what hangs off it; nobody sleeps who has it
	sc    scenario
	dir   string
	began time.Time
	log   []string
	wrong []string // what an invariant has found
	shown detail   // what is in the transcript

	addresses    []*simAddress
	sockets      []*simSocket
	procs        []*simProc
	daemons      []*simDaemon
	now          *simDaemon // the one in charge
	waitsForWord bool       // nothing is live, and a prepared change waits
	startsAgain  bool       // nothing was live when this daemon began, and what should be is started
	lacksPage    bool       // the app is in maintenance, and its page could not be shown yet
	disk         simDisk
	stored       map[string]any
	link         string // where `current` leads
	inodes       uint64
	pids         int
	spawned      int
	conns        int
	served       int
	counted      map[string]*requests.Reading // by place
	hiccupUntil  time.Time
	quietUntil   time.Time // no user comes until then
	compared     simCompared
	reverted     map[int]time.Time // when, by generation
	keepsParts   bool              // a gate that cannot be set leads to a generation that should get nothing
	comparing    *division
	comparedFrom time.Time
	events       int
	saves        int
	private      int
	readings     int
	provedPlans  map[string]bool
	genPlans     map[int]string
	points       map[string]int
	due          map[time.Time][]string // what the daemons do, by its instant

	portTaken, historyFails, storeFails, healed, off, powerOff bool
	gatesFail, canariesFail, upgrade                           int
	restartAfter                                               time.Duration
	downSince                                                  time.Time
	gateRefused, storeFailed                                   time.Time // the last time
	// when something last went wrong that is none of superctl's doing
	faultAt time.Time
	ledger  ledger
	mail    simMail

	commands simCommands
	work     simWork
	assets   simAssets
	clients  []context.CancelCauseFunc
	others   int // clients that follow or cancel the change of another
	open     int // requests without an answer
}

// detail is how much of a run its transcript has.
type detail int

const (
	inShort detail = iota // what the site does
	withLog               // and the log of the daemons
	inFull                // and every call between the supervisor and the world, to the nanosecond
)

func newSim(sc scenario, dir string, shown detail) *sim {
	m := &sim{
		sc: sc, dir: dir, shown: shown, link: "r1", pids: 100, stored: make(map[string]any),
		counted: make(map[string]*requests.Reading), reverted: make(map[int]time.Time),
		provedPlans: make(map[string]bool), genPlans: make(map[int]string),
		points: make(map[string]int), due: make(map[time.Time][]string), began: time.Now(),
	}
	m.mail.news = make(chan struct{})
	m.assets.published = make(map[string]time.Time)
	m.commands.dues, m.commands.lives = make(map[string]bool), make(map[string]time.Time)
	m.disk.path = dir + "/" + stateName
	for i, name := range []string{"web", "api"}[:sc.Site.Listeners] {
		a := &simAddress{name: name, address: fmt.Sprint("127.0.0.1:", 8000+i), kind: sc.Site.Gate}
		m.addresses = append(m.addresses, a)
		if a.kind == kindShared {
			a.shared = m.bind(a, 0) // systemd has it, too
		}
	}
	return m
}

// hash is chance: the same for the same seed, label and number.
func (m *sim) hash(label string, n uint64) uint64 {
	x := uint64(14695981039346656037) ^ m.sc.Seed // FNV-1a, and then the mixing of splitmix64
	for i := range len(label) {
		x = (x ^ uint64(label[i])) * 1099511628211
	}
	x += n * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (m *sim) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *sim) logf(format string, args ...any) {
	at := fmt.Sprintf("%9.4f ", time.Since(m.began).Seconds())
	if m.shown == inFull {
		at = fmt.Sprintf("%d ", time.Since(m.began))
	}
	m.log = append(m.log, at+fmt.Sprintf(format, args...))
}

// tracef is a line of a transcript in full.
func (m *sim) tracef(format string, args ...any) {
	if m.shown == inFull {
		m.logf(format, args...)
	}
}

// violate notes that an invariant does not hold.
func (m *sim) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.logf("WRONG: %s", text)
	m.wrong = append(m.wrong, text)
}

func (m *sim) release(name string) simRelease {
	for _, r := range m.sc.Bad {
		if r.Name == name {
			return r
		}
	}
	return simRelease{Name: name}
}

func (m *sim) pointed() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.link
}

// logger puts the daemon's log into the transcript.
func (m *sim) logger(d *simDaemon) *zap.Logger {
	if m.shown == inShort {
		return zap.NewNop()
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m"})
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(simLog{m, d}), zapcore.InfoLevel))
}

type simLog struct {
	m *sim
	d *simDaemon
}

func (l simLog) Write(p []byte) (int, error) {
	l.m.locked(func() {
		if !l.d.dead {
			l.m.logf("  [%d] %s", l.d.n, strings.TrimSpace(string(p)))
		}
	})
	return len(p), nil
}

// runScenario runs a scenario in virtual time.
func runScenario(t *testing.T, sc scenario, shown detail) *sim {
	t.Helper()
	dir, err := os.MkdirTemp("", "simulation")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var m *sim
	synctest.Test(t, func(*testing.T) {
		m = newSim(sc, dir, shown)
		m.play()
	})
	return m
}

// play is the run itself.
func (m *sim) play() {
	var systemd, users sync.WaitGroup
	m.boot()
	systemd.Go(m.systemd)
	select {
	case <-m.now.s.Started():
	case <-m.now.ended:
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, a := range m.public() {
		users.Go(func() { m.users(ctx, a) })
	}
	users.Go(func() { m.watch(ctx) })
	for _, a := range m.sc.Actions {
		if m.failed() {
			break
		}
		time.Sleep(time.Until(m.began.Add(time.Duration(a.At)*time.Millisecond + 77*time.Microsecond)))
		m.act(a)
	}
	m.heal()
	if !m.failed() {
		time.Sleep(6 * time.Minute)
		var d *simDaemon
		m.locked(func() { d = m.now })
		if d.s.Status().Maintenance != nil {
			m.checkPage(d)
			m.maintenance(d, 0)
			time.Sleep(time.Minute)
		}
	}
	cancel()
	users.Wait()
	time.Sleep(10 * time.Second)
	if !m.failed() {
		m.checkRest()
	}
	m.locked(func() { m.off = true })
	m.now.cancel()
	select {
	case <-m.now.ended:
	case <-time.After(5 * time.Minute):
		m.locked(func() { m.violate("the daemon does not end") })
	}
	m.locked(func() { m.now.die("the run is over") })
	systemd.Wait()
	if !m.failed() {
		m.checkEnd()
	}
	for _, d := range m.daemons {
		<-d.ended
		m.locked(func() { d.die("the run is over") })
	}
	time.Sleep(time.Hour) // what the dead daemons wait for
}

func (m *sim) failed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.wrong) > 0
}

func (m *sim) boot() {
	handed := make(map[string]any)
	m.locked(func() {
		m.abandonQueues()
		if m.sc.Site.Store {
			for name, what := range m.stored {
				handed[name] = what
			}
		}
	})
	d := m.daemon(handed)
	m.locked(func() {
		m.logf("daemon %d starts", d.n)
		m.now = d
		m.expect(d)
	})
	d.run()
}

// systemd starts the daemon again when it has ended.
func (m *sim) systemd() {
	for {
		var d *simDaemon
		m.locked(func() { d = m.now })
		<-d.died
		time.Sleep(time.Second) // the next one of an upgrade may be in charge by then
		var wait time.Duration
		var over, other bool
		m.locked(func() { wait, over, other = m.restartAfter, m.off, m.now != d })
		if over {
			return
		}
		if other {
			continue
		}
		time.Sleep(wait)
		m.locked(func() { over, m.powerOff = m.off, false })
		if over {
			return
		}
		m.boot()
	}
}

// users connect, at any time.
func (m *sim) users(ctx context.Context, a *simAddress) {
	for n := uint64(0); ctx.Err() == nil; n++ {
		pause := time.Duration(20_000_000 + m.hash("user "+a.address, n)%300_000_000)
		quiet := false
		m.locked(func() {
			quiet = time.Now().Before(m.quietUntil)
			if m.healed {
				pause *= 10 // nothing much happens any more
			}
		})
		time.Sleep(pause)
		if !quiet {
			m.connect(a)
		}
	}
}

// watch looks at the status again and again, as a person does.
func (m *sim) watch(ctx context.Context) {
	for ctx.Err() == nil {
		pause := 997*time.Millisecond + 333*time.Nanosecond
		m.locked(func() {
			if m.healed {
				pause *= 10
			}
		})
		time.Sleep(pause)
		var d *simDaemon
		var trying bool
		m.locked(func() { d, trying = m.now, m.disk.behind() && !m.failedLong() })
		if trying {
			continue // to look would be a turn of the owner, and it has to try again by itself
		}
		select {
		case <-d.s.Started():
		default:
			continue
		}
		st := d.s.Status()
		m.locked(func() {
			m.checkStatus(d, st)
			m.checkDue(d, st)
		})
	}
}

// heal ends all troubles, so that the run can come to rest.
func (m *sim) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logf("all troubles end")
	m.portTaken, m.historyFails, m.storeFails, m.healed, m.gatesFail, m.canariesFail, m.disk.fails = false, false, false, true, 0, 0, nil
	m.assets.full = false
	m.now.dieAt, m.now.dieFrom, m.hiccupUntil, m.quietUntil = 0, 0, time.Time{}, time.Time{}
	for _, p := range m.procs {
		p.wedged = false
		for _, s := range p.sockets {
			m.accept(s)
		}
	}
}

func (d *simDaemon) point(r Release) error {
	if !d.edge("point") {
		return errSimDead
	}
	d.m.locked(func() { d.m.link = r.Name })
	return nil
}

// savedState is what the disk has.
func (m *sim) savedState() (st state, ok bool) {
	if m.disk.visible == nil {
		return st, false
	}
	return st, json.Unmarshal(m.disk.visible, &st) == nil
}
