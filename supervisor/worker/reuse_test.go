package worker

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"
)

func pidsOf(list []stat) (pids []int) {
	for _, s := range list {
		pids = append(pids, s.pid)
	}
	return pids
}

func TestARelativeIsNobodyWhoHasTheWorkersPIDLater(t *testing.T) {
	worker := root{pid: 100, start: 50, tag: "m-1", session: 9}
	for _, tt := range []struct {
		name string
		all  []stat
		tags map[int]string
		want []int
	}{
		{
			"the worker and its child",
			[]stat{{pid: 100, group: 100, start: 50}, {pid: 101, parent: 100, group: 100, start: 51}},
			nil,
			[]int{100, 101},
		},
		{
			"the worker's zombie and its child",
			[]stat{{pid: 100, group: 100, start: 50, state: 'Z'}, {pid: 101, parent: 1, group: 100, start: 51}},
			nil,
			[]int{101},
		},
		{
			"its group, of which the leader is gone",
			[]stat{{pid: 101, parent: 1, group: 100, session: 9, start: 51}},
			nil,
			[]int{101},
		},
		{
			"a stranger's group, of which the leader had its pid and is gone",
			[]stat{{pid: 106, parent: 1, group: 100, session: 8, start: 61}},
			nil, nil,
		},
		{"a stranger with its pid", []stat{{pid: 100, group: 7, start: 60}}, nil, nil},
		{"a stranger with its pid, and that one's group and child", []stat{
			{pid: 100, group: 100, start: 60}, {
				pid: 102, parent: 100, group: 100, start: 61,
			}, {pid: 103, parent: 102, group: 103, start: 62},
		}, nil, nil},
		{
			"a stranger with its pid, and what has its tag",
			[]stat{{pid: 100, group: 100, start: 60}, {pid: 104, parent: 1, group: 104, start: 55}},
			map[int]string{104: "m-1"},
			[]int{104},
		},
		{
			"a group that was there before it",
			[]stat{{pid: 105, parent: 1, group: 100, session: 9, start: 40}},
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
	seen := scan{all: []stat{{pid: 101, parent: 1, group: 100, session: 9, start: 51}}}
	if got := seen.relatives(root{pid: 100, start: 50, tag: "m-1"}); len(got) > 0 {
		t.Errorf("relatives are %v: the group was hunted while the zombie was there", pidsOf(got))
	}
}

// The number of a process group is free for strangers once its leader is reaped and its last member
// gone.
func TestAWorkerKeepsItsPIDUntilItsFamilyIsHunted(t *testing.T) {
	w, err := Start(Spec{Command: []string{"/bin/true"}, Dir: "/", Mark: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if s, err := readStat(w.PID()); err != nil || s.state != 'Z' || s.start != w.StartTime() {
		t.Errorf("before the hunt: %+v %v", s, err)
	}
	if w.groupEmpty() {
		t.Error("its group is said to be empty while its zombie is in it")
	}
	if err := w.KillAll(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := readStat(w.PID()); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not reaped after the hunt")
		}
	}
}
