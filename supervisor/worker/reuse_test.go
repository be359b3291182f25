package worker

import (
	"slices"
	"testing"
)

func pidsOf(list []stat) (pids []int) {
	for _, s := range list {
		pids = append(pids, s.pid)
	}
	return pids
}

func TestARelativeIsNobodyWhoHasTheWorkersPIDLater(t *testing.T) {
	worker := root{pid: 100, start: 50, tag: "m-1"}
	for _, tt := range []struct {
		name string
		all  []stat
		tags map[int]string
		want []int
	}{
		{"the worker and its child", []stat{{pid: 100, group: 100, start: 50}, {pid: 101, parent: 100, group: 100, start: 51}}, nil, []int{100, 101}},
		{"the worker's zombie and its child", []stat{{pid: 100, group: 100, start: 50, state: 'Z'}, {pid: 101, parent: 1, group: 100, start: 51}}, nil, []int{101}},
		{"its group, of which the leader is gone", []stat{{pid: 101, parent: 1, group: 100, start: 51}}, nil, []int{101}},
		{"a stranger with its pid", []stat{{pid: 100, group: 7, start: 60}}, nil, nil},
		{"a stranger with its pid, and that one's group and child", []stat{
			{pid: 100, group: 100, start: 60}, {pid: 102, parent: 100, group: 100, start: 61}, {pid: 103, parent: 102, group: 103, start: 62},
		}, nil, nil},
		{"a stranger with its pid, and what has its tag", []stat{{pid: 100, group: 100, start: 60}, {pid: 104, parent: 1, group: 104, start: 55}}, map[int]string{104: "m-1"}, []int{104}},
		{"a group that was there before it", []stat{{pid: 105, parent: 1, group: 100, start: 40}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := pidsOf(scan{all: tt.all, tags: tt.tags}.relatives(worker))
			if !slices.Equal(got, tt.want) {
				t.Errorf("relatives are %v, want %v", got, tt.want)
			}
		})
	}
}
