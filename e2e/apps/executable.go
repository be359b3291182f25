package apps

import (
	"os"
	"syscall"
)

// WriteExecutable writes a file that the caller may execute at once. os.WriteFile is not safe for
// that in a process that starts others meanwhile: each child has the file open for writing between
// its fork and its exec, and exec(2) of a file that is open for writing fails with ETXTBSY. Go
// holds ForkLock during that time.
func WriteExecutable(path string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, 0o755)
}
