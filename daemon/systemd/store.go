package systemd

import (
	"context"
	"fmt"
	"os"
	"time"
)

// answerTime is how long systemd may take to answer.
const answerTime = 5 * time.Second

// Store is the descriptor store of the unit (FileDescriptorStoreMax= of systemd.service(5)). What is in it comes back, by
// name, to a daemon that systemd starts after a crash or a restart.
type Store struct{}

// OpenStore is the unit's store, or nil without systemd.
func OpenStore() *Store {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	return &Store{}
}

// Put stores a descriptor. FDPOLL=0: systemd would take a pidfd out again as soon as its process ends, before anybody has
// asked it how.
func (*Store) Put(name string, fd int) error {
	return send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, []int{fd})
}

// Remove takes a descriptor out.
func (*Store) Remove(name string) error { return send("FDSTOREREMOVE=1\nFDNAME="+name, nil) }

// Check finds out whether the store is full: then it refuses more without telling the sender. Where systemd cannot be asked
// there is nothing to say.
func (*Store) Check() error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if err := Barrier(ctx); err != nil {
		return err
	}
	u, err := findUnit(ctx)
	if err != nil {
		return nil // no D-Bus in this place
	}
	defer u.close()
	stored, err := u.service(ctx, "NFileDescriptorStore")
	if err != nil {
		return err
	}
	most, err := u.service(ctx, "FileDescriptorStoreMax")
	if err != nil {
		return err
	}
	n, ok := stored.(uint32)
	if limit, also := most.(uint32); ok && also && n >= limit {
		return fmt.Errorf("systemd's store is full with %d descriptors: raise FileDescriptorStoreMax= in the unit %s", n, u.name)
	}
	return nil
}
