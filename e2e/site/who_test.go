package site

import (
	"encoding/json"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

func TestHistoryAndStatusNameTheUserAndTheSSHHost(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.WriteFile("releases/r1/REVISION", strings.Repeat("4be9f00d", 5))
	a.WriteFile("releases/r2/REVISION", strings.Repeat("9f3c2ab1", 5))
	a.Start("r1")
	ssh := a.StartSSH()

	// Like sudo: the environment is cleared, and only the kernel knows the login user.
	out := ssh.Type("127.0.0.77", `echo 65534 >/proc/self/loginuid && echo noted
		env -i PATH="$PATH" SUPERCTL_CONFIG="$SUPERCTL_CONFIG" superctl switch r2; exit $?`)
	who := "root from 127.0.0.77"
	if strings.Contains(out, "noted") {
		who = "nobody (as root) from 127.0.0.77"
	}
	a.Command("history").Want(0).Says("4be9f00d..9f3c2ab1", who)
	a.Command("history", "show", "2").Want(0).Says("who", who+" (uid 0, pid ", "started", "cutover", "r2 (9f3c2ab19f)")
	a.Command("status").Want(0).Says("r2 (9f3c2ab19f), ok, live for", "by "+who)

	// The record outlives a reload, a crash of the daemon and an upgrade.
	a.Command("reload").Want(0)
	a.Daemon.Kill()
	if err := a.Launch().Ready(); err != nil {
		t.Fatal(err)
	}
	a.Command("upgrade").Want(0)
	st := a.Status()
	if st.LiveBy == "" || !strings.HasPrefix(who, st.LiveBy) || st.LiveOrigin.From != "127.0.0.77" ||
		st.LiveSince.IsZero() || !st.LiveSince.Before(a.Live(st).Since) {
		t.Errorf("live since %s by %s (%+v)", st.LiveSince, st.LiveBy, st.LiveOrigin)
	}
	before := st.LiveSince
	a.Command("rollback").Want(0)
	if st := a.Status(); !st.LiveSince.After(before) || st.LiveOrigin.From != "" {
		t.Errorf("live since %s by %s (%+v)", st.LiveSince, st.LiveBy, st.LiveOrigin)
	}

	// The JSON has the fields separately, for scripts.
	var records []struct {
		Number         int    `json:"number"`
		Kind           string `json:"kind"`
		From           string `json:"from"`
		PreviousCommit string `json:"previous_commit"`
	}
	if err := json.Unmarshal([]byte(a.Command("history", "--json").Want(0).Stdout()), &records); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for i, r := range records {
		kinds = append(kinds, r.Kind)
		if r.Number != len(records)-i || (r.From != "") != (r.Number == 2) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if records[0].Kind != "rollback" || records[0].PreviousCommit != strings.Repeat("9f3c2ab1", 5) {
		t.Errorf("%v, the newest %+v", kinds, records[0])
	}
	kill(t, a.Status().PID) // none that the harness started
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}
