// Screens records the terminal screens of README and the documents: it runs superctl with a small
// Django site, on a terminal of 80 columns, and writes what the terminal shows, with its colours,
// into testdata. `make screens` runs it and draws a picture of each screen.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"superctl/e2e/harness"
)

func main() {
	harness.Guardian()
	if err := record(); err != nil {
		fmt.Fprintln(os.Stderr, "screens:", err)
		os.Exit(1)
	}
}

func record() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, err := harness.NewRun("--demo")
	if err != nil {
		return err
	}
	defer func() {
		if closed := run.Close(); err == nil {
			err = closed
		}
	}()
	s := &session{ctx: ctx}
	screens, err := s.record(run)
	if err != nil {
		return err
	}
	for _, screen := range screens {
		path := filepath.Join("e2e", "screens", "testdata", screen.name+".ansi")
		if err := os.WriteFile(path, []byte(screen.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
