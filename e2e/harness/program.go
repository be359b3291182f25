package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is a server beside the app, such as nginx, and all that it writes.
type program struct {
	cmd    *exec.Cmd
	log    syncBuffer
	exited chan struct{} // closed when it has been reaped
}

func (p *program) start() error {
	p.exited = make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return nil
}

// says waits until the program has written text, and reports whether it has.
func (p *program) says(text string) bool {
	return Changes(p.exited, func() (<-chan struct{}, bool) {
		grown := p.log.grown()
		return grown, strings.Contains(p.log.String(), text)
	})
}

// end sends the program the signal at which it ends, and waits for that.
func (p *program) end(t T, sig os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(sig)
	if !endsWithin(Patience, p.exited) {
		_ = p.cmd.Process.Kill()
		<-p.exited
		t.Errorf("%s did not end within %s\n%s", filepath.Base(p.cmd.Path), Patience, p.log.String())
	}
}
