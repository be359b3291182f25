package apps

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestAWrittenExecutableCanRunWhileOthersStart(t *testing.T) {
	dir := t.TempDir()
	errs := make(chan error)
	for n := range 8 {
		go func() {
			for i := range 100 {
				path := filepath.Join(dir, fmt.Sprintf("%d-%d", n, i))
				err := WriteExecutable(path, []byte("#!/bin/sh\n"))
				if err == nil {
					err = exec.Command(path).Run()
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
