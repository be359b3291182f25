package supervisor

import (
	"fmt"
	"slices"
	"strings"
)

const (
	mostGenerations = 1 << 40 // more than a daemon could make in its life; the number of a lane still fits behind it
	mostNumbered    = 1<<laneBits - 1
	mostPID         = 1 << 22 // the kernel's limit (PID_MAX_LIMIT, proc_sys_kernel(5))
)

// nonsense is what no daemon can have written into a state file, though it is valid JSON; "" when
// there is nothing.
func (st *state) nonsense() string {
	if st.Next < 0 || st.Next > mostGenerations || st.Live < 0 || st.Target < 0 || st.From < 0 {
		return fmt.Sprintf(
			"next_generation %d, live %d, change_generation %d, change_from %d", st.Next, st.Live, st.Target, st.From,
		)
	}
	ids, pids := make(map[int]bool), make(map[int]bool)
	for i := range st.Generations {
		gs := &st.Generations[i]
		if gs.ID < 1 || gs.ID > mostGenerations || ids[gs.ID] {
			return fmt.Sprintf("generation %d", gs.ID)
		}
		ids[gs.ID] = true
		if _, ok := generationTable[gs.State]; !ok {
			return fmt.Sprintf("generation %d is %q", gs.ID, gs.State)
		}
		if why := gs.nonsense(pids); why != "" {
			return fmt.Sprintf("generation %d: %s", gs.ID, why)
		}
	}
	for name, members := range st.Listeners {
		for _, m := range members {
			if m.Gen < 0 {
				return fmt.Sprintf("listener %q of generation %d", name, m.Gen)
			}
		}
	}
	return ""
}

// nonsense is the same of one generation; pids are those of all workers before.
func (gs *generationState) nonsense(pids map[int]bool) string {
	for i := range gs.Plan.Processes {
		if why := gs.Plan.Processes[i].nonsense(i); why != "" {
			return why
		}
	}
	for _, c := range gs.Plan.Cron {
		if c.Name == "" || strings.ContainsRune(c.Name, '/') || len(c.Command) == 0 {
			return fmt.Sprintf("scheduled command %q has no command, or its name is none", c.Name)
		}
	}
	for i := range gs.Workers {
		ws := &gs.Workers[i]
		if why := ws.nonsense(); why != "" {
			return why
		}
		if ws.PID != 0 && pids[ws.PID] {
			return fmt.Sprintf("worker %s.%d has the pid %d", ws.Process, ws.Instance, ws.PID)
		}
		pids[ws.PID] = true
	}
	return ""
}

// nonsense is the same of the process with that index.
func (p *Process) nonsense(i int) string {
	switch {
	case p.Name == "" || len(p.Command) == 0:
		return fmt.Sprintf("process %d has no name or no command", i)
	case p.Instances < 0 || p.Instances > mostNumbered || p.StopSignal < 0 || p.StopSignal > 64:
		return fmt.Sprintf("process %s has %d instances and the stop signal %d", p.Name, p.Instances, p.StopSignal)
	case slices.Contains(p.Listen, ""):
		return fmt.Sprintf("process %s has a listener without a name", p.Name)
	}
	return ""
}

// nonsense is the same of one worker.
func (ws *workerState) nonsense() string {
	if _, ok := instanceTable[ws.State]; !ok {
		return fmt.Sprintf("worker %s.%d is %q", ws.Process, ws.Instance, ws.State)
	}
	if ws.PID < 0 || ws.PID > mostPID || ws.PID == 1 || ws.Instance < 0 || ws.Instance > mostNumbered {
		return fmt.Sprintf("worker %s.%d has the pid %d", ws.Process, ws.Instance, ws.PID)
	}
	for name, number := range ws.Own {
		if number < 1 {
			return fmt.Sprintf("worker %s.%d has listener %q of generation %d", ws.Process, ws.Instance, name, number)
		}
	}
	return ""
}
