package systemd

import (
	"context"
	"fmt"
	"os"
	"time"
)

// answerTimeout bounds the wait for systemd's answer.
const answerTimeout = 5 * time.Second

// Store is the unit's descriptor store (FileDescriptorStoreMax= in systemd.service(5)). After a
// crash or a restart, systemd passes the stored descriptors by name to the next daemon.
type Store struct{}

// OpenStore returns the unit's store, or nil without systemd.
func OpenStore() *Store {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	return &Store{}
}

// Put stores a descriptor. With FDPOLL=1, systemd would drop a pidfd as soon as its process exits,
// before a daemon has read the exit status.
func (*Store) Put(name string, fd int) error {
	return send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, []int{fd})
}

// Remove removes a descriptor from the store.
func (*Store) Remove(name string) error { return send("FDSTOREREMOVE=1\nFDNAME="+name, nil) }

// Check reports a full store as an error: systemd then drops further descriptors without notifying
// the sender. Check returns nil if systemd cannot be asked.
func (*Store) Check() error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := Barrier(ctx); err != nil {
		return err
	}
	u, err := findUnit(ctx)
	if err != nil {
		return nil // no D-Bus here
	}
	defer u.close()
	stored, err := u.serviceProperty(ctx, "NFileDescriptorStore")
	if err != nil {
		return err
	}
	most, err := u.serviceProperty(ctx, "FileDescriptorStoreMax")
	if err != nil {
		return err
	}
	n, ok := stored.(uint32)
	if limit, also := most.(uint32); ok && also && n >= limit {
		return fmt.Errorf("systemd's descriptor store is full with %d descriptors: "+
			"raise FileDescriptorStoreMax= in the unit %s", n, u.name)
	}
	return nil
}
