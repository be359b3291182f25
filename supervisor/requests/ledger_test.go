package requests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
)

// sum is everything that a ledger has.
func sum(t *testing.T, l *Ledger) Counts {
	t.Helper()
	report, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	var c Counts
	for _, r := range report.Places {
		c.Add(&r.Counts)
	}
	for _, gone := range report.Gone {
		c.Add(gone)
	}
	return c
}

func TestRowsFilesAndPlacesAreSummedUp(t *testing.T) {
	root := t.TempDir()
	for place, rows := range map[string]int{"g1.web.0": 1, "g1.web.1": 255} {
		dir := one(t, root, place)
		for n := range 2 {
			p := newPage(7, 8, rows)
			for row := 1; row <= rows; row++ {
				p.counted(row, time.Millisecond, 1, 1, 20, 3, 4, 5)
				p.set(row, rowBroken, 6)
				p.set(row, rowAborted, 7)
				p.set(row, rowStarted, 1+33+6+7)
			}
			p.write(t, filepath.Join(dir, strconv.Itoa(n)))
		}
	}
	report, err := NewLedger(root, everything).Read()
	if err != nil {
		t.Fatal(err)
	}
	for place, rows := range map[string]uint64{"g1.web.0": 2, "g1.web.1": 510} {
		r := report.Places[place]
		if r.Started != 47*rows || r.InFlight != rows || r.Lost != 0 || r.Broken != 6*rows || r.Aborted != 7*rows ||
			r.Answered != [classes]uint64{rows, 20 * rows, 3 * rows, 4 * rows, 5 * rows} ||
			r.Durations[cell(time.Millisecond)] != 33*rows || r.Durations.Count() != 33*rows || !r.Counting {
			t.Errorf("%s: %+v", place, r)
		}
	}
}

func TestWhatAnEndedProcessHadInFlightIsLost(t *testing.T) {
	root := t.TempDir()
	p := newPage(7, 8, 1)
	p.counted(1, time.Millisecond, 3, 0, 10)
	p.write(t, filepath.Join(one(t, root, "g1.web.0"), "1"))
	if c := sum(t, NewLedger(root, everything)); c.InFlight != 3 || c.Lost != 0 {
		t.Errorf("it runs: %d in flight, %d lost", c.InFlight, c.Lost)
	}
	for range 2 { // by its page, and by what that was folded into
		if c := sum(t, NewLedger(root, nothing)); c.InFlight != 0 || c.Lost != 3 || c.Started != 13 {
			t.Errorf("it has ended: %d in flight, %d lost", c.InFlight, c.Lost)
		}
	}
}

func TestARequestThatEndsBetweenTwoLoadsIsNotNegative(t *testing.T) {
	c := Counts{Started: 1, Broken: 2}
	c.leave(true)
	if c.InFlight != 0 || c.Lost != 0 {
		t.Errorf("%d in flight, %d lost", c.InFlight, c.Lost)
	}
}

func TestTheCountsOfAKilledProcessAreComplete(t *testing.T) {
	root := t.TempDir()
	const rows = 4
	w := startWriter(t, one(t, root, "g1.web.0"), rows)
	w.take(t, 1000)
	if err := w.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	said := 1000 + w.rest(t)
	l := NewLedger(root, Running)
	for _, when := range []string{"by its page", "folded"} {
		c := sum(t, l)
		// each row may have been killed before it could say so
		if ended := c.Ended(); ended < said || ended > said+rows || c.InFlight != 0 || c.Lost != c.Started-ended || c.Lost > rows {
			t.Errorf("%s: it has said %d: %d started, %d ended, %d lost", when, said, c.Started, ended, c.Lost)
		}
	}
	if left, err := os.ReadDir(filepath.Join(root, "g1.web.0"+pages)); err != nil || len(left) != 0 {
		t.Errorf("%v, pages left: %v", err, left)
	}
}

func TestAProcessThatCountsIsReadWithoutAJump(t *testing.T) {
	root := t.TempDir()
	w := startWriter(t, one(t, root, "g1.web.0"), 2)
	w.take(t, 1)
	l := NewLedger(root, Running)
	var last, read uint64
	for range 200 {
		w.take(t, 10)
		read += 10
		c := sum(t, l)
		// What ends between the two looks at a row counts as in flight: that may be any number.
		if c.Started < last || c.Ended() < read || c.Ended()+c.InFlight != c.Started || c.Lost != 0 {
			t.Fatalf("%d started after %d, %d ended after %d were taken, %d in flight", c.Started, last, c.Ended(), read, c.InFlight)
		}
		last = c.Started
	}
}

func TestThePageOfAForkIsKept(t *testing.T) {
	root := t.TempDir()
	w := startWriter(t, one(t, root, "g1.web.0"), 1)
	w.take(t, 1)
	// its process cannot be found, as in another pid namespace: its page is mapped all the same
	sum(t, NewLedger(root, nothing))
	w.take(t, 5000)
	_ = w.stdin.Close()
	said := 5001 + w.rest(t)
	if c := sum(t, NewLedger(root, nothing)); c.Started != said || c.Lost != 0 {
		t.Errorf("%d of %d are counted, %d are lost", c.Started, said, c.Lost)
	}
}

func TestProcessesThatAreReplacedLeaveOneFile(t *testing.T) {
	root := t.TempDir()
	dir := one(t, root, "g1.web.0")
	l := NewLedger(root, nothing)
	for n := range uint64(100) {
		p := newPage(7, n, 1)
		p.counted(1, time.Millisecond, 0, 0, n)
		p.write(t, filepath.Join(dir, fmt.Sprint(n)))
		if c := sum(t, l); c.Started != n*(n+1)/2 {
			t.Fatalf("%d started after %d pages", c.Started, n+1)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, pages left: %d", err, len(left))
	}
	if names, err := os.ReadDir(root); err != nil || len(names) != 3 { // the directory, its counts, the lock
		t.Errorf("%v, %v", err, names)
	}
}

// died ends a daemon of a test.
type died struct{ step string }

// dies runs f with a ledger that dies at the nth step that it reaches, and returns that step; "" = it
// has reached fewer.
func dies(l *Ledger, nth int, f func()) (step string) {
	l.reached = func(step string) {
		if nth--; nth == 0 {
			panic(died{step})
		}
	}
	defer func() {
		if d, ok := recover().(died); ok {
			step = d.step
		}
	}()
	f()
	return ""
}

func TestADeathAtAnyStepLosesNothingAndCountsNothingTwice(t *testing.T) {
	steps := make(map[string]bool)
	for nth, more := 1, true; more; nth++ {
		root := t.TempDir()
		for _, place := range []string{"g1.web.0", "g1.web.1", "g2.web.0"} {
			dir := one(t, root, place)
			for n := range 3 {
				p := newPage(n, 8, 1)
				p.counted(1, time.Millisecond, 1, 0, 10)
				p.write(t, filepath.Join(dir, strconv.Itoa(n)))
			}
		}
		last := func(pid int, _ uint64) bool { return pid == 2 } // the others have ended
		check := func(when string) {
			t.Helper()
			if c := sum(t, NewLedger(root, last)); c.Started != 99 || c.Answered[1] != 90 || c.InFlight+c.Lost != 9 {
				t.Errorf("%s: %d started, %d answered, %d open", when, c.Started, c.Answered[1], c.InFlight+c.Lost)
			}
		}
		l := NewLedger(root, last)
		step := dies(l, nth, func() {
			_, _ = l.Read()
			_ = l.Retire(func(place string) bool { return strings.HasPrefix(place, "g2.") })
		})
		steps[step], more = true, step != ""
		check("after a death when " + step)
		if err := NewLedger(root, last).Retire(func(place string) bool { return strings.HasPrefix(place, "g2.") }); err != nil {
			t.Error(err)
		}
		check("and after the next daemon has retired the places")
		if err := NewLedger(root, last).Retire(func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		check("and all of them")
		if left, _ := filepath.Glob(filepath.Join(root, "g*")); len(left) != 0 {
			t.Errorf("after a death when %s: %v", step, left)
		}
	}
	for _, step := range []string{
		"pages are read", "pages are written", "a page is removed", "the counts of a place are read",
		"the counts of a place are written", "the pages of a place are removed", "the file of a place is removed",
	} {
		if !steps[step] {
			t.Errorf("nothing died when %s", step)
		}
	}
}

func TestTwoDaemonsThatReadAtOnceCountNothingTwice(t *testing.T) {
	root := t.TempDir()
	dir := one(t, root, "g1.web.0")
	const files = 200
	for n := range files {
		p := newPage(7, uint64(n), 1)
		p.counted(1, time.Millisecond, 0, 0, 1)
		p.write(t, filepath.Join(dir, strconv.Itoa(n)))
	}
	var daemons sync.WaitGroup
	for range 4 {
		daemons.Go(func() {
			l := NewLedger(root, nothing)
			for range 5 {
				if c := sum(t, l); c.Started != files {
					t.Errorf("%d started", c.Started)
				}
			}
		})
	}
	daemons.Wait()
}

func TestAPlaceThatIsGoneKeepsItsCountsByProcess(t *testing.T) {
	root := t.TempDir()
	for _, place := range []string{"g1.web.0", "g1.a.b.0", "g2.web.0"} {
		p := newPage(os.Getpid(), 8, 1)
		p.counted(1, time.Millisecond, 1, 0, 10)
		p.write(t, filepath.Join(one(t, root, place), "1"))
	}
	l := NewLedger(root, everything)
	if err := l.Retire(func(place string) bool { return place == "g2.web.0" }); err != nil {
		t.Fatal(err)
	}
	report, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range []string{"web", "a.b"} {
		if c := report.Gone[process]; c == nil || c.Started != 11 || c.InFlight != 0 || c.Lost != 1 {
			t.Errorf("%s: %+v", process, c)
		}
	}
	if len(report.Places) != 1 || report.Places["g2.web.0"].InFlight != 1 {
		t.Errorf("%+v", report.Places)
	}
}

func TestAProgramSaysThatItCountsBeforeItsFirstRequest(t *testing.T) {
	root := t.TempDir()
	dir := one(t, root, "g1.web.0")
	l := NewLedger(root, everything)
	for _, counting := range []bool{false, true} {
		report, err := l.Read()
		if err != nil || report.Places["g1.web.0"].Counting != counting {
			t.Errorf("%v: %+v", err, report.Places["g1.web.0"])
		}
		if err := os.WriteFile(filepath.Join(dir, mark), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNoPageIsSkipped(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	dir := one(t, root, "g1.web.0")
	good := newPage(7, 8, 1)
	good.counted(1, time.Millisecond, 0, 0, 1000)
	good.write(t, filepath.Join(other, "page"))
	unfinished := newPage(7, 8, 1)
	unfinished.set(0, headMagic, 0)
	unfinished.write(t, filepath.Join(dir, "unfinished"))
	wrong := newPage(7, 8, 2)
	wrong.set(0, headRows, 1)
	wrong.write(t, filepath.Join(dir, "rows"))
	newPage(7, 8, 256).write(t, filepath.Join(dir, "large"))
	newPage(7, 8, 0).write(t, filepath.Join(dir, "small"))
	good.write(t, filepath.Join(dir, ".hidden"))
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "odd"), make([]byte, 8191), 0o600),
		os.Symlink(filepath.Join(other, "page"), filepath.Join(dir, "link")),
		os.Symlink("/dev/zero", filepath.Join(dir, "device")),
		os.Mkdir(filepath.Join(dir, "directory"), 0o700),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), // to open it would block
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		report, err := NewLedger(root, nothing).Read()
		if err != nil {
			t.Fatal(err)
		}
		if r := report.Places["g1.web.0"]; r.Started != 0 || r.Counting || r.Skipped != 10 {
			t.Errorf("%d started, %d skipped", r.Started, r.Skipped)
		}
	}
	good.write(t, filepath.Join(dir, "good"))
	if c := sum(t, NewLedger(root, nothing)); c.Started != 1000 {
		t.Errorf("%d started", c.Started)
	}
}

func TestAPageIsItsDirectoryOwnersOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root has workers of other users
	}
	const worker = 65534
	root := t.TempDir()
	flag := filepath.Join(root, "g1.web.0")
	if _, err := Make(flag, -1, -1); err != nil { // as by a daemon that died before it had given it away
		t.Fatal(err)
	}
	dir, err := Make(flag, worker, worker)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Uid != worker || st.Gid != worker || st.Mode&0o777 != 0o700 {
		t.Errorf("%v, %+v", err, st)
	}
	for name, owner := range map[string]int{"own": worker, "another": 0} {
		p := newPage(7, 8, 1)
		p.counted(1, time.Millisecond, 0, 0, 10)
		p.write(t, filepath.Join(dir, name))
		if err := os.Chown(filepath.Join(dir, name), owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if c := sum(t, NewLedger(root, everything)); c.Started != 10 {
		t.Errorf("%d started", c.Started)
	}
}

func TestADirectoryThatIsALinkIsNotRead(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	good := newPage(7, 8, 1)
	good.counted(1, time.Millisecond, 0, 0, 1000)
	good.write(t, filepath.Join(other, "page"))
	if err := os.Symlink(other, Directory(filepath.Join(root, "g1.web.0"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(filepath.Join(root, "g1.web.0"), -1, -1); err == nil {
		t.Error("it was taken for a directory")
	}
	if c := sum(t, NewLedger(root, nothing)); c.Started != 0 {
		t.Errorf("%d started", c.Started)
	}
	if _, err := os.Lstat(filepath.Join(other, "page")); err != nil {
		t.Error(err)
	}
}

func TestUnreadableCountsAreNotTakenForNone(t *testing.T) {
	for _, file := range []string{"g1.web.0" + past, total} {
		root := t.TempDir()
		dir := one(t, root, "g1.web.0")
		newPage(7, 8, 1).write(t, filepath.Join(dir, "1"))
		if err := os.WriteFile(filepath.Join(root, file), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		l := NewLedger(root, nothing)
		if _, err := l.Read(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
		if err := l.Retire(func(string) bool { return false }); err == nil {
			t.Errorf("%s: its place was removed", file)
		}
		if _, err := os.Lstat(filepath.Join(dir, "1")); err != nil {
			t.Error(err)
		}
	}
}

func TestRowsThatWereNotUsedTakeNoMemory(t *testing.T) {
	root, err := os.MkdirTemp("/dev/shm", "requests")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	path := filepath.Join(one(t, root, "g1.web.0"), "1")
	p := newPage(7, 8, 255)
	p.counted(200, time.Millisecond, 0, 0, 5)
	p.write(t, path)
	if c := sum(t, NewLedger(root, everything)); c.Started != 5 {
		t.Errorf("%d started", c.Started)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks != 2*rowSize/512 {
		t.Errorf("%v, %d blocks", err, st.Blocks)
	}
}

func TestAProcessIsKnownByItsStartTime(t *testing.T) {
	self, err := proc.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !Running(self.PID, self.Start) || Running(self.PID, self.Start+1) || Running(0, 0) {
		t.Error("another process is taken for it")
	}
}
