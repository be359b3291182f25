package daemon

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/mattn/go-isatty"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"superctl/api"
	"superctl/plain"
)

// logs is where the daemon's own log and the workers' lines go: to the journal with fields when the
// daemon's output is the journal, else to a file when the config names one, else to the daemon's
// own output.
type logs struct {
	app  string
	path string // of the file, "" for none

	queue   chan []byte
	closing chan struct{}
	lost    atomic.Int64  // lines that found no room in the queue, since it was last said
	written chan struct{} // closed when all that was queued is written

	mu   sync.Mutex // guards what is below
	file *os.File
	out  io.Writer
}

const (
	logQueue = 4096            // lines that wait for an output which takes none at the moment
	logEnd   = 2 * time.Second // how long the end of the daemon waits for them
)

// openLogs opens the log file, if there is one. Close ends what it begins.
func openLogs(app, path string, out io.Writer) (*logs, error) {
	l := &logs{
		app: app, path: path, out: out, queue: make(chan []byte, logQueue), closing: make(chan struct{}),
		written: make(chan struct{}),
	}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	go l.pass()
	return l, nil
}

// pass writes line after line. Nobody else waits for the output: it may be a terminal that is
// stopped, or a pipe that nobody reads.
func (l *logs) pass() {
	defer close(l.written)
	for {
		select {
		case line := <-l.queue:
			l.write(line)
			continue
		default:
		}
		select {
		case line := <-l.queue:
			l.write(line)
		case <-l.closing:
			return
		}
	}
}

func (l *logs) write(line []byte) {
	l.mu.Lock()
	out := l.out
	l.mu.Unlock()
	_, _ = out.Write(line) // there is nowhere left to say that the log cannot be written
	if n := l.lost.Swap(0); n > 0 {
		_, _ = fmt.Fprintf(out, "%d lines of the log were lost: its output did not take them\n", n)
	}
}

// Close waits, not for long, until what was written is passed on. What is written afterwards is
// not.
func (l *logs) Close() error {
	close(l.closing)
	select {
	case <-l.written:
	case <-time.After(logEnd):
		return nil // whoever does not read it now will not
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Reopen opens the log file anew, for a logrotate that has moved it away.
func (l *logs) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open log file: %w", err)
	}
	l.mu.Lock()
	old := l.file
	l.file, l.out = f, f
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Write hands a line to the file or the output, and never waits for it; it makes logs a
// zapcore.WriteSyncer.
func (l *logs) Write(p []byte) (int, error) {
	select {
	case l.queue <- bytes.Clone(p):
	default:
		l.lost.Add(1)
	}
	return len(p), nil
}

// Sync has nothing to do: Close waits for what is queued.
func (l *logs) Sync() error { return nil }

// underJournal tells whether what the daemon writes ends in the journal anyway.
func (l *logs) underJournal() bool {
	if l.path != "" {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// logger is the daemon's own log. Under the journal the level is the prefix of sd-daemon(3) and the
// time is left out, since the journal has both.
func (l *logs) logger() *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.ConsoleSeparator = " "
	enc.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")
	enc.EncodeLevel = zapcore.LowercaseLevelEncoder
	if l.underJournal() {
		enc.TimeKey = ""
		enc.EncodeLevel = sdLevel
		enc.ConsoleSeparator = ""
	}
	level := zap.InfoLevel
	if os.Getenv("SUPERCTL_DEBUG") != "" {
		level = zap.DebugLevel
	}
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), l, level))
}

func sdLevel(level zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
	prefix := map[zapcore.Level]string{zap.DebugLevel: "<7>", zap.InfoLevel: "<6>", zap.WarnLevel: "<4>"}[level]
	if prefix == "" {
		prefix = "<3>"
	}
	enc.AppendString(prefix)
}

// sink passes on what workers write.
func (l *logs) sink() func(api.LogLine) {
	if l.underJournal() {
		return l.toJournal
	}
	terminal := isTerminal(l.out)
	return func(line api.LogLine) {
		if terminal {
			line.Text = plain.Line(line.Text)
		}
		w := bufio.NewWriterSize(l, 256+len(line.Text))
		fmt.Fprintf(
			w, "%s %s.%d %s | %s\n", line.Time.Format(time.RFC3339), line.Process, line.Instance, line.Release,
			line.Text,
		)
		_ = w.Flush() // there is nowhere left to say that the log cannot be written
	}
}

func (l *logs) toJournal(line api.LogLine) {
	err := journal.Send(line.Text, journal.PriInfo, map[string]string{
		"SYSLOG_IDENTIFIER":   l.app + "/" + line.Process,
		"SUPERCTL_APP":        l.app,
		"SUPERCTL_RELEASE":    line.Release,
		"SUPERCTL_GENERATION": strconv.Itoa(line.Generation),
		"SUPERCTL_PROCESS":    line.Process,
		"SUPERCTL_INSTANCE":   strconv.Itoa(line.Instance),
		"SUPERCTL_PID":        strconv.Itoa(line.PID),
	})
	if err != nil {
		fmt.Fprintf(l, "%s.%d %s | %s\n", line.Process, line.Instance, line.Release, line.Text)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}
