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

// logs writes the daemon's own log and the workers' lines: to the journal with fields if the
// daemon's output is the journal, else to the file that the config names, else to the daemon's
// output.
type logs struct {
	app  string
	path string // of the log file, or ""

	queue   chan []byte
	closing chan struct{}
	lost    atomic.Int64  // lines dropped from the full queue since the last report
	written chan struct{} // closed when all queued lines are written

	mu   sync.Mutex // guards the fields below
	file *os.File
	out  io.Writer
}

const (
	logQueue = 4096            // most lines that wait for a stalled output
	logEnd   = 2 * time.Second // how long Close waits for the output
)

// openLogs opens the log file, if the config names one, and starts writing. Close stops it.
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

// pass writes the queued lines. Only this goroutine waits for the output, which may be a stopped
// terminal or a pipe without a reader.
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
	_, _ = out.Write(line) // there is no other place to report that the log cannot be written
	if n := l.lost.Swap(0); n > 0 {
		_, _ = fmt.Fprintf(out, "%d log lines were dropped: the output has stalled\n", n)
	}
}

// Close waits up to logEnd until the queued lines are written. Later lines are dropped.
func (l *logs) Close() error {
	close(l.closing)
	select {
	case <-l.written:
	case <-time.After(logEnd):
		return nil // the output has stalled
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Reopen opens the log file again after logrotate has moved it.
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

// Write queues a line and never blocks. With Sync it implements zapcore.WriteSyncer.
func (l *logs) Write(p []byte) (int, error) {
	select {
	case l.queue <- bytes.Clone(p):
	default:
		l.lost.Add(1)
	}
	return len(p), nil
}

// Sync does nothing: Close waits for the queue.
func (l *logs) Sync() error { return nil }

// underJournal reports whether the daemon's output goes to the journal.
func (l *logs) underJournal() bool {
	if l.path != "" {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// logger returns the daemon's own log. Under the journal, lines have the level as the prefix of
// sd-daemon(3) and no time, because the journal records both.
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

// sink returns the function that writes a worker's line.
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
		_ = w.Flush() // there is no other place to report that the log cannot be written
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
