package worker

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestAWorkerIsFoundAndNoneOfItsChildren(t *testing.T) {
	out := filepath.Join(t.TempDir(), "g3.web.1.X")
	o, err := OpenOutput(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	given := int(null.Fd())
	mark := "find-" + filepath.Base(t.TempDir())
	spec := Spec{
		App: "shop", Process: "web", Release: "r1", Generation: 3, Instance: 1,
		Files:   []File{{Name: "web", FD: given, Inode: 4711}, {Name: "admin", FD: given}},
		Command: []string{"sh", "-c", "setsid sleep 1000 & echo up; wait"},
		Env:     []string{"PATH=" + os.Getenv("PATH")}, Dir: "/", Output: out, Mark: mark, Flag: "/run/drain/g3.web.1",
	}
	w, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.KillAll(); <-w.Done() })
	ctx, end := context.WithCancel(t.Context())
	command := make(chan error, 1)
	up := make(chan struct{})
	go func() { // as a check of the worker's runs
		beside := Spec{App: "shop", Process: "web", Generation: 3, Instance: 1, Env: spec.Env, Dir: "/", Mark: mark}
		c, err := beside.Beside([]string{"sh", "-c", "echo up; exec sleep 1000"})
		if err == nil {
			err = Run(ctx, c, func(string) { close(up) })
		}
		command <- err
	}()
	<-up
	defer func() {
		end()
		if err := <-command; err == nil {
			t.Error("the command ended by itself")
		}
	}()
	found, err := Find(mark)
	if err != nil {
		t.Fatal(err)
	}
	want := Found{
		PID: w.PID(), Start: w.StartTime(), UID: uint32(os.Geteuid()), Tag: w.Tag(), Generation: 3, Instance: 1,
		Process: "web", Output: out, Flag: spec.Flag, Listeners: map[string]uint64{"web": 4711},
	}
	if len(found) != 1 || !reflect.DeepEqual(found[0], want) {
		t.Errorf("found %+v, want %+v", found, want)
	}
}
