package running

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process may not examine one that has more capabilities.
func TestAProcessThatMayNotBeExaminedIsNamedWithTheNextStep(t *testing.T) {
	runtime.LockOSThread() // which ends with this goroutine, and with it the loss of the capability
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	caps[0].Permitted &^= 1 << unix.CAP_SYS_PTRACE
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	_, err := FindPID(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "process 1 cannot be examined") ||
		!strings.Contains(err.Error(), "SYS_PTRACE") && !strings.Contains(err.Error(), "sudo") {
		t.Errorf("%v", err)
	}
}
