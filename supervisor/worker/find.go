package worker

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is a running worker as its own process and environment describe it.
type Found struct {
	PID                  int
	Start                uint64 // clock ticks since boot, proc_pid_stat(5) field 22
	UID                  uint32 // that it runs as
	Tag                  string
	Generation, Instance int
	Process              string
	Output               string // path of the FIFO for its stdout; "" = it leads elsewhere
	Flag                 string // path of its drain flag; "" = none
}

// commandTag follows the mark in the tag of a command that is run to its end: it is not a worker.
const commandTag = "-command"

// Find returns the workers with that mark that run, without what they have started: a daemon that
// was killed may have started one that its state file does not know. LISTEN_PID, which names the
// process itself, tells a worker from its children.
func Find(mark string) ([]Found, error) {
	all, err := processes()
	if err != nil {
		return nil, fmt.Errorf("look for workers of an earlier daemon: %w", err)
	}
	var list []Found
	for _, s := range all {
		if f, ok := describe(s, mark); ok {
			list = append(list, f)
		}
	}
	return list, nil
}

func describe(s stat, mark string) (f Found, ok bool) {
	data, err := environ(s.pid)
	if err != nil {
		return f, false
	}
	env := make(map[string]string)
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	f = Found{
		PID: s.pid, Start: s.start, Tag: env[tagVar], Process: env["SUPERCTL_PROCESS"], Flag: env["SUPERCTL_DRAIN"],
	}
	marked := strings.HasPrefix(f.Tag, mark+"-") && !strings.HasPrefix(f.Tag, mark+commandTag)
	if env["LISTEN_PID"] != strconv.Itoa(s.pid) || !marked || f.Process == "" {
		return f, false
	}
	var errs [2]error
	f.Generation, errs[0] = strconv.Atoi(env["SUPERCTL_GENERATION"])
	f.Instance, errs[1] = strconv.Atoi(env["SUPERCTL_INSTANCE"])
	var st unix.Stat_t
	dir := fmt.Sprintf("/proc/%d", s.pid)
	if errs[0] != nil || errs[1] != nil || s.state == 'Z' || unix.Stat(dir, &st) != nil {
		return f, false
	}
	f.UID = st.Uid
	f.Output, err = os.Readlink(dir + "/fd/1")
	if err != nil || !strings.HasPrefix(f.Output, "/") || f.Output == os.DevNull {
		f.Output = ""
	}
	return f, true
}
