package worker

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"superctl/proc"
)

func pidsOf(list []proc.Stat) (pids []int) {
	for _, s := range list {
		pids = append(pids, s.PID)
	}
	return pids
}

func TestARelativeIsNobodyWhoHasTheWorkersPIDLater(t *testing.T) {
	worker := root{pid: 100, start: 50, tag: "m-1", session: 9}
	for _, tt := range []struct {
		name string
		all  []proc.Stat
		tags map[int]string
		want []int
	}{
		{
			"the worker and its child",
			[]proc.Stat{{PID: 100, Group: 100, Start: 50}, {PID: 101, Parent: 100, Group: 100, Start: 51}},
			nil,
			[]int{100, 101},
		},
		{
			"the worker's zombie and its child",
			[]proc.Stat{{PID: 100, Group: 100, Start: 50, State: 'Z'}, {PID: 101, Parent: 1, Group: 100, Start: 51}},
			nil,
			[]int{101},
		},
		{
			"its group, of which the leader is gone",
			[]proc.Stat{{PID: 101, Parent: 1, Group: 100, Session: 9, Start: 51}},
			nil,
			[]int{101},
		},
		{
			"a stranger's group, of which the leader had its pid and is gone",
			[]proc.Stat{{PID: 106, Parent: 1, Group: 100, Session: 8, Start: 61}},
			nil, nil,
		},
		{"a stranger with its pid", []proc.Stat{{PID: 100, Group: 7, Start: 60}}, nil, nil},
		{"a stranger with its pid, and that one's group and child", []proc.Stat{
			{PID: 100, Group: 100, Start: 60}, {
				PID: 102, Parent: 100, Group: 100, Start: 61,
			}, {PID: 103, Parent: 102, Group: 103, Start: 62},
		}, nil, nil},
		{
			"a stranger with its pid, and what has its tag",
			[]proc.Stat{{PID: 100, Group: 100, Start: 60}, {PID: 104, Parent: 1, Group: 104, Start: 55}},
			map[int]string{104: "m-1"},
			[]int{104},
		},
		{
			"a group that was there before it",
			[]proc.Stat{{PID: 105, Parent: 1, Group: 100, Session: 9, Start: 40}},
			nil,
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := pidsOf(scan{all: tt.all, tags: tt.tags}.relatives(worker))
			if !slices.Equal(got, tt.want) {
				t.Errorf("relatives are %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAGroupIsNotAReapedChilds(t *testing.T) {
	seen := scan{all: []proc.Stat{{PID: 101, Parent: 1, Group: 100, Session: 9, Start: 51}}}
	if got := seen.relatives(root{pid: 100, start: 50, tag: "m-1"}); len(got) > 0 {
		t.Errorf("relatives are %v: the group was hunted while the zombie was there", pidsOf(got))
	}
}

// The number of a process group is free for strangers once its leader is reaped and its last member
// gone.
func TestAWorkerKeepsItsPIDUntilItsFamilyIsHunted(t *testing.T) {
	w, err := Start(t.Context(), Spec{Command: []string{"/bin/true"}, Dir: "/", Mark: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if s, err := proc.ReadStat(w.PID()); err != nil || s.State != 'Z' || s.Start != w.StartTime() {
		t.Errorf("before the hunt: %+v %v", s, err)
	}
	if w.groupEmpty() {
		t.Error("its group is said to be empty while its zombie is in it")
	}
	if err := w.KillAll(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := proc.ReadStat(w.PID()); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not reaped after the hunt")
		}
	}
}
