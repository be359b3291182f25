package apps

import (
	"os"
	"syscall"
)

// WriteExecutable writes a file that the caller may start at once. os.WriteFile is no good for that in a process that
// starts others meanwhile: each of them has the file open for writing from its fork to its exec, and exec(2) of a file
// that anybody has open for writing fails with ETXTBSY. Go holds ForkLock for just that time.
func WriteExecutable(path string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, 0o755)
}
