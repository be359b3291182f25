package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"superctl/plain"
	"superctl/supervisor"
)

// logs is where the daemon's own log and the workers' lines go: to the journal with fields when the daemon's output is
// the journal, else to a file when the config names one, else to the daemon's own output.
type logs struct {
	app string

	mu   sync.Mutex
	path string // of the file, "" for none
	file *os.File
	out  io.Writer
}

// openLogs opens the log file, if there is one.
func openLogs(app, path string, out io.Writer) (*logs, error) {
	l := &logs{app: app, path: path, out: out}
	return l, l.Reopen()
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

// Write appends to the file or the output; it makes logs a zapcore.WriteSyncer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// Sync has nothing to do: every line is written at once.
func (l *logs) Sync() error { return nil }

// underJournal tells whether what the daemon writes ends in the journal anyway.
func (l *logs) underJournal() bool {
	if l.path != "" {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// logger is the daemon's own log. Under the journal the level is the prefix of sd-daemon(3) and the time is left out,
// since the journal has both.
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
func (l *logs) sink() func(supervisor.LogLine) {
	if l.underJournal() {
		return l.toJournal
	}
	terminal := isTerminal(l.out)
	return func(line supervisor.LogLine) {
		if terminal {
			line.Text = plain.Line(line.Text)
		}
		w := bufio.NewWriterSize(l, 256+len(line.Text))
		fmt.Fprintf(w, "%s %s.%d %s | %s\n", line.Time.Format(time.RFC3339), line.Process, line.Instance, line.Release, line.Text)
		_ = w.Flush() // there is nowhere left to say that the log cannot be written
	}
}

func (l *logs) toJournal(line supervisor.LogLine) {
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
