package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
	"github.com/godbus/dbus/v5"
)

const (
	bus              = "org.freedesktop.systemd1"
	serviceInterface = bus + ".Service"
	unitInterface    = bus + ".Unit"
)

// Service is a unit of this machine as systemd has loaded it, running or not.
type Service struct {
	Name       string // such as superctl@shop.service
	properties map[string]dbus.Variant
}

// FindService returns the named service, or a unit of another kind, of which only what all units have
// is known. It returns nil if there is no such unit or this machine does not run systemd.
func FindService(ctx context.Context, name string) (*Service, error) {
	if !util.IsRunningSystemd() {
		return nil, nil
	}
	conn, err := connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	defer conn.Close()
	return load(ctx, conn, name)
}

// FindServiceOf returns the service of a process, or nil if the process belongs to none.
func FindServiceOf(ctx context.Context, pid int) (*Service, error) {
	if !util.IsRunningSystemd() {
		return nil, nil
	}
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for the unit of process %d: %w", pid, err)
	}
	defer conn.Close()
	name, err := conn.GetUnitNameByPID(ctx, uint32(pid)) // the kernel's pids are positive
	if err != nil || !strings.HasSuffix(name, ".service") {
		return nil, nil // systemd answered that the process has no unit
	}
	return FindService(ctx, name)
}

// connect connects to the system bus, or, as root on a machine without a bus, directly to systemd.
func connect(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err == nil {
		return conn, nil
	}
	direct, also := dbus.Dial("unix:path=/run/systemd/private", dbus.WithContext(ctx))
	if also != nil {
		return nil, err
	}
	if also := direct.Auth(nil); also != nil {
		return nil, errors.Join(err, also, direct.Close())
	}
	return direct, nil
}

func load(ctx context.Context, conn *dbus.Conn, name string) (*Service, error) {
	unit := conn.Object(bus, dbus.ObjectPath("/org/freedesktop/systemd1/unit/"+systemd.PathBusEscape(name)))
	s := &Service{Name: name, properties: make(map[string]dbus.Variant)}
	interfaces := []string{unitInterface}
	if strings.HasSuffix(name, ".service") {
		interfaces = append(interfaces, serviceInterface)
	}
	for _, of := range interfaces {
		var all map[string]dbus.Variant
		if err := unit.CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, of).Store(&all); err != nil {
			return nil, fmt.Errorf("ask systemd for %s: %w", name, err)
		}
		for key, value := range all {
			s.properties[key] = value
		}
	}
	if s.text("LoadState") == "not-found" {
		return nil, nil
	}
	return s, nil
}

// User returns User= and Group= of the unit; "" means root's.
func (s *Service) User() (user, group string) { return s.text("User"), s.text("Group") }

// HasArgument reports whether the service's command has the argument word, such as the path of a
// config.
func (s *Service) HasArgument(word string) bool {
	all, _ := s.properties["ExecStart"].Value().([][]any)
	for _, command := range all {
		if args, ok := command[1].([]string); ok && slices.Contains(args, word) {
			return true
		}
	}
	return false
}

// MainPID returns the main process of the service, or 0 if none runs.
func (s *Service) MainPID() int {
	pid, _ := s.properties["MainPID"].Value().(uint32)
	return int(pid)
}

// Enabled reports whether the unit starts at a boot.
func (s *Service) Enabled() bool {
	state := s.text("UnitFileState")
	return state == "enabled" || state == "enabled-runtime"
}

// Wanted reports whether the service runs, or systemd is about to start it.
func (s *Service) Wanted() bool {
	state := s.text("ActiveState")
	return state != "inactive" && state != "failed"
}

// Sockets returns the socket units whose sockets systemd passes to the service.
func (s *Service) Sockets() []string {
	return slices.DeleteFunc(slices.Clone(s.list("TriggeredBy")), func(name string) bool {
		return !strings.HasSuffix(name, ".socket")
	})
}

// HasPrivateNetwork reports whether the service has a network of its own (PrivateNetwork=).
func (s *Service) HasPrivateNetwork() bool {
	on, _ := s.properties["PrivateNetwork"].Value().(bool)
	return on || s.text("NetworkNamespacePath") != ""
}

// RuntimeDirectories returns the directories below /run that systemd removes when the service
// stops.
func (s *Service) RuntimeDirectories() []string {
	if s.text("RuntimeDirectoryPreserve") == "yes" {
		return nil
	}
	return s.list("RuntimeDirectory")
}

func (s *Service) text(property string) string {
	v, _ := s.properties[property].Value().(string)
	return v
}

func (s *Service) list(property string) []string {
	v, _ := s.properties[property].Value().([]string)
	return v
}
