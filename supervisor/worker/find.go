package worker

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"superctl/proc"
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
	// Listeners is the inodes of the listeners that it was given, by their names.
	Listeners map[string]uint64
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

func describe(s proc.Stat, mark string) (f Found, ok bool) {
	data, err := proc.Environ(s.PID)
	if err != nil {
		return f, false
	}
	env := maps.Collect(data.All())
	f = Found{
		PID: s.PID, Start: s.Start, Tag: env[tagVar], Process: env["SUPERCTL_PROCESS"], Flag: env["SUPERCTL_DRAIN"],
		Listeners: inodes(env[listenersVar]),
	}
	marked := strings.HasPrefix(f.Tag, mark+"-") && !strings.HasPrefix(f.Tag, mark+commandTag)
	if env["LISTEN_PID"] != strconv.Itoa(s.PID) || !marked || f.Process == "" {
		return f, false
	}
	var errs [3]error
	f.Generation, errs[0] = strconv.Atoi(env["SUPERCTL_GENERATION"])
	f.Instance, errs[1] = strconv.Atoi(env["SUPERCTL_INSTANCE"])
	f.UID, errs[2] = proc.UID(s.PID)
	if errors.Join(errs[:]...) != nil || s.Ended() {
		return f, false
	}
	if stdout, err := proc.ReadDescriptor(s.PID, 1); err == nil && stdout.Path() != os.DevNull && stdout.Path() != "" {
		f.Output = stdout.Target
	}
	return f, true
}

// inodes reads the value of listenersVar; what is not as superctl writes it is left out.
func inodes(value string) map[string]uint64 {
	list := make(map[string]uint64)
	for entry := range strings.SplitSeq(value, ":") {
		name, number, _ := strings.Cut(entry, "=")
		if inode, err := strconv.ParseUint(number, 10, 64); err == nil && inode != 0 {
			list[name] = inode
		}
	}
	return list
}
