package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"superctl/supervisor/worker"
)

func TestADeathForWantOfMemorySaysSo(t *testing.T) {
	for events, want := range map[string]string{
		"low 0\nhigh 0\nmax 40\noom 1\noom_kill 2\n": "killed by SIGKILL by the kernel: it was at its memory_max",
		"low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n":  "killed by SIGKILL by the kernel: the machine, or the unit, was out of memory",
		"low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n":  "killed by SIGKILL",
	} {
		virtual(t, func(t *testing.T, w *world) {
			group := t.TempDir()
			if err := os.WriteFile(filepath.Join(group, "memory.events"), []byte(events), 0o600); err != nil {
				t.Fatal(err)
			}
			w.releases["r1"] = behaviour{cgroup: group}
			s, stop := w.supervisor(t.TempDir())
			switchTo(t, s, "r1")
			said := strings.Contains(troublesOf(s.Status()), "the kernel has killed")
			if said != strings.Contains(want, "by the kernel") {
				t.Errorf("status while it lives: %q", troublesOf(s.Status()))
			}
			w.procs[0].die(worker.Exit{Known: true, Signal: syscall.SIGKILL})
			synctest.Wait()
			if got := s.Status().Generations[0].Workers[0].Reason; !strings.HasSuffix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			stop()
		})
	}
}

func TestADaemonSaysThatItIsShortOfDescriptors(t *testing.T) {
	for _, tt := range []struct {
		open, limit uint64
		says        string
	}{
		{30, 1024, ""}, {900, 1024, ""}, {
			930, 1024, "930 of the 1024 files",
		}, {20, 40, ""}, {25, 40, "25 of the 40 files"}, {40, 40, "40 of the 40 files"},
	} {
		if got := outOfDescriptors(tt.open, tt.limit); !strings.Contains(got, tt.says) ||
			(got == "") != (tt.says == "") {
			t.Errorf("%d of %d: %q", tt.open, tt.limit, got)
		}
	}
}

func troublesOf(st Status) string {
	var all []string
	for _, t := range st.Troubles {
		all = append(all, t.Of+": "+t.Why)
	}
	return strings.Join(all, "\n")
}
