package systemd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// stopTimeout is how long a command may take to end after SIGTERM.
const stopTimeout = 30 * time.Second

// Command is a command to run under the conditions of a service.
type Command struct {
	Args           []string
	Env            []string // in addition to the service's own
	Stdout, Stderr *os.File
	Limit          time.Duration // after which systemd stops it
}

// NotStartedError is the error when systemd could not run a command under the conditions of a
// service, so that the service itself would not start either.
type NotStartedError struct {
	Service string
	Status  string // of systemd.exec(5), such as 217/USER
}

// Error returns the meaning of the status, and the next step.
func (e *NotStartedError) Error() string {
	_, name, _ := strings.Cut(e.Status, "/")
	meaning := map[string]string{
		"CHDIR":       "WorkingDirectory= does not exist, or its user may not enter it",
		"EXEC":        "superctl itself cannot be run in its sandbox",
		"USER":        "its User= does not exist",
		"GROUP":       "its Group= or one of SupplementaryGroups= does not exist",
		"NAMESPACE":   "a path of ReadWritePaths=, BindPaths= or the like does not exist",
		"CREDENTIALS": "a credential of LoadCredential= or the like cannot be read",
	}[name]
	if meaning == "" {
		meaning = "systemd.exec(5) lists the exit codes"
	}
	next := "; see journalctl -b -n 20"
	if name == "USER" {
		next = ": create that user (useradd --system), or set another one (systemctl edit " + e.Service + ")"
	}
	return fmt.Sprintf("%s cannot start: %s (%s)%s", e.Service, meaning, e.Status, next)
}

// RunAs runs a command under the conditions of the service: as its user, in its sandbox, with its
// environment and credentials. It returns the exit code, and the unit's properties that systemd
// does not accept for a transient unit, which the command therefore ran without. When ctx ends, the
// command gets SIGTERM.
//
// The directories of the unit (StateDirectory= and the like) are only made writable: systemd would
// otherwise create them, and remove a RuntimeDirectory= at the end.
func (s *Service) RunAs(ctx context.Context, c Command) (code int, without []string, err error) {
	conn, err := systemd.NewWithContext(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("run a command as %s does: %w", s.Name, err)
	}
	defer conn.Close()
	unit := fmt.Sprintf("superctl-check-%d.service", os.Getpid())
	properties := s.sandbox()
	c.addTo(properties, s)
	ended := make(chan string, 1)
	for {
		_, err = conn.StartTransientUnitContext(ctx, unit, "fail", sorted(properties), ended)
		refused := refusedProperty(err)
		if _, ok := properties[refused]; !ok {
			break
		}
		delete(properties, refused)
		without = append(without, refused)
	}
	if err != nil {
		return 0, without, fmt.Errorf("run a command as %s does: %w", s.Name, err)
	}
	code, err = s.await(ctx, conn, unit, ended)
	return code, without, err
}

// await waits for the end of a transient oneshot unit, whose start job ends with the command.
func (s *Service) await(ctx context.Context, conn *systemd.Conn, unit string, ended <-chan string) (int, error) {
	var result string
	select {
	case result = <-ended:
	case <-ctx.Done():
		background := context.WithoutCancel(ctx)
		if err := conn.KillUnitWithTarget(background, unit, systemd.Main, int32(unix.SIGTERM)); err != nil {
			return 0, fmt.Errorf("stop the command that runs as %s does: %w", s.Name, err)
		}
		select {
		case result = <-ended:
		case <-time.After(2 * stopTimeout): // TimeoutStopSec= has passed
			return 0, fmt.Errorf("run a command as %s does: systemd does not stop it: %w", s.Name, context.Cause(ctx))
		}
	}
	if result == "done" {
		return 0, nil
	}
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	defer conn.ResetFailedUnitContext(asked, unit) // systemd has forgotten it already
	status, err := conn.GetServicePropertyContext(asked, unit, "ExecMainStatus")
	if err != nil {
		return 0, fmt.Errorf("run a command as %s does: result %s, unknown exit code: %w", s.Name, result, err)
	}
	code, _ := status.Value.Value().(int32)
	if name, ok := statusNames()[code]; ok {
		return 0, &NotStartedError{s.Name, fmt.Sprintf("%d/%s", code, name)}
	}
	if code == 0 {
		return 0, fmt.Errorf("run a command as %s does: systemd stopped it: %s", s.Name, result)
	}
	return int(code), nil
}

// statusNames returns the exit codes by which systemd reports what failed before the command was
// executed.
func statusNames() map[int32]string {
	return map[int32]string{
		200: "CHDIR", 203: "EXEC", 210: "CHROOT", 214: "SETSCHEDULER", 216: "GROUP", 217: "USER", 218: "CAPABILITIES",
		219: "CGROUP", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES", 228: "SECCOMP",
		229: "SELINUX_CONTEXT", 231: "APPARMOR_PROFILE",
		232: "ADDRESS_FAMILIES", 238: "STATE_DIRECTORY", 242: "NUMA_POLICY", 243: "CREDENTIALS",
	}
}

var unknownProperty = regexp.MustCompile(`Cannot set property (\w+), or unknown property`)

// refusedProperty returns the property that systemd does not accept for a transient unit.
func refusedProperty(err error) string {
	if err == nil {
		return ""
	}
	if m := unknownProperty.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// addTo adds the properties of the command itself to those of the service.
func (c *Command) addTo(p map[string]dbus.Variant, s *Service) {
	type execStart struct {
		Path          string
		Args          []string
		IgnoreFailure bool
	}
	set := func(name string, value any) { p[name] = dbus.MakeVariant(value) }
	set("Description", "superctl check, as "+s.Name)
	set("Type", "oneshot")
	set("ExecStart", []execStart{{c.Args[0], c.Args, false}})
	set("StandardOutputFileDescriptor", dbus.UnixFD(c.Stdout.Fd())) // a descriptor is an int
	set("StandardErrorFileDescriptor", dbus.UnixFD(c.Stderr.Fd()))  // likewise
	set("TimeoutStartUSec", uint64(c.Limit.Microseconds()))         // it is positive
	set("TimeoutStopUSec", uint64(stopTimeout.Microseconds()))
	set("KillMode", "mixed")
	env := s.list("Environment")
	writable := s.list("ReadWritePaths")
	for _, d := range s.directories() {
		env = append(env, d.variable+"="+strings.Join(d.paths, ":"))
		for _, path := range d.paths {
			writable = append(writable, "-"+path)
		}
	}
	set("Environment", slices.Concat(env, c.Env))
	if len(writable) > 0 {
		set("ReadWritePaths", writable)
	}
}

// serviceDirectory is StateDirectory= or a similar setting, with its environment variable and its
// paths.
type serviceDirectory struct {
	variable string
	paths    []string
}

func (s *Service) directories() (list []serviceDirectory) {
	for _, d := range []struct{ property, base, variable string }{
		{"StateDirectory", "/var/lib", "STATE_DIRECTORY"},
		{"RuntimeDirectory", "/run", "RUNTIME_DIRECTORY"},
		{"CacheDirectory", "/var/cache", "CACHE_DIRECTORY"},
		{"LogsDirectory", "/var/log", "LOGS_DIRECTORY"},
		{"ConfigurationDirectory", "/etc", "CONFIGURATION_DIRECTORY"},
	} {
		var paths []string
		for _, name := range s.list(d.property) {
			paths = append(paths, filepath.Join(d.base, name))
		}
		if len(paths) > 0 {
			list = append(list, serviceDirectory{d.variable, paths})
		}
	}
	return list
}

// sandbox returns the unit's properties that determine the identity and the permissions of its
// processes (systemd.exec(5), systemd.resource-control(5)).
func (s *Service) sandbox() map[string]dbus.Variant {
	p := make(map[string]dbus.Variant)
	for _, name := range copiedProperties() {
		v, ok := s.properties[name]
		if !ok {
			continue
		}
		if set, ok := typedValue(v); ok {
			p[name] = set
		}
	}
	// Properties whose getter and setter differ.
	if dir, ok := strings.CutPrefix(s.text("WorkingDirectory"), "!"); ok {
		p["WorkingDirectory"] = dbus.MakeVariant("-" + dir)
	}
	for _, name := range []string{"AppArmorProfile", "SELinuxContext", "SmackProcessLabel"} {
		if v, ok := s.properties[name].Value().([]any); ok && len(v) == 2 && v[1] != "" {
			profile := fmt.Sprint(v[1])
			if v[0] == true {
				profile = "-" + profile
			}
			p[name] = dbus.MakeVariant(profile)
		}
	}
	return p
}

// copiedProperties returns the names of the properties that sandbox copies.
func copiedProperties() []string {
	return []string{
		"User", "Group", "SupplementaryGroups", "DynamicUser", "SetLoginEnvironment",
		"WorkingDirectory", "RootDirectory", "UMask",
		"EnvironmentFiles", "PassEnvironment", "UnsetEnvironment",
		"LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential",
		"CapabilityBoundingSet", "AmbientCapabilities", "SecureBits", "NoNewPrivileges", "KeyringMode",
		"ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectClock", "ProtectHostname",
		"ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectControlGroups",
		"PrivateTmp", "PrivateDevices", "PrivateNetwork", "PrivateUsers", "PrivateMounts", "PrivateIPC",
		"ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "BindPaths", "BindReadOnlyPaths",
		"TemporaryFileSystem", "MountAPIVFS",
		"NetworkNamespacePath", "IPCNamespacePath",
		"SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "RestrictAddressFamilies",
		"RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute",
		"RestrictFileSystems",
		"LimitNOFILE", "LimitNOFILESoft", "LimitNPROC", "LimitNPROCSoft", "LimitAS", "LimitASSoft",
		"LimitFSIZE", "LimitFSIZESoft",
		"LimitMEMLOCK", "LimitMEMLOCKSoft", "LimitDATA", "LimitDATASoft", "LimitSTACK", "LimitSTACKSoft",
		"DevicePolicy", "DeviceAllow", "IPAddressAllow", "IPAddressDeny", "SocketBindAllow", "SocketBindDeny",
		"RestrictNetworkInterfaces",
	}
}

// typedValue returns a property's value in its D-Bus type, which the library keeps for simple
// values only, and false for a property that is unset.
func typedValue(v dbus.Variant) (dbus.Variant, bool) {
	switch v.Signature().String() {
	case "s", "b", "as":
		value := reflect.ValueOf(v.Value())
		return v, !value.IsZero() && !isEmptyList(value)
	case "t", "u", "i":
		return v, true
	case "(bas)":
		if all, ok := v.Value().([]any); ok && len(all) == 2 && all[0] == false && reflect.ValueOf(all[1]).Len() == 0 {
			return v, false
		}
	}
	into := compound(v.Signature().String())
	if into == nil || dbus.Store([]any{v.Value()}, into) != nil {
		return v, false
	}
	value := reflect.ValueOf(into).Elem()
	if isEmptyList(value) {
		return v, false
	}
	return dbus.MakeVariant(value.Interface()), true
}

func isEmptyList(v reflect.Value) bool { return v.Kind() == reflect.Slice && v.Len() == 0 }

// compound returns a pointer to a variable of a compound type, or nil for a type that no copied
// property has.
func compound(signature string) any {
	switch signature {
	case "(bas)":
		return new(struct {
			Allow bool
			Names []string
		})
	case "a(ss)":
		return new([]struct{ A, B string })
	case "a(sb)":
		return new([]struct {
			Path   string
			Ignore bool
		})
	case "a(say)":
		return new([]struct {
			Name string
			Data []byte
		})
	case "a(ssbt)":
		return new([]struct {
			From, To string
			Ignore   bool
			Flags    uint64
		})
	case "a(iayu)":
		return new([]struct {
			Family int32
			IP     []byte
			Prefix uint32
		})
	case "a(iiqq)":
		return new([]struct {
			Family, Protocol int32
			Ports, First     uint16
		})
	}
	return nil
}

func sorted(properties map[string]dbus.Variant) []systemd.Property {
	list := make([]systemd.Property, 0, len(properties))
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		list = append(list, systemd.Property{Name: name, Value: properties[name]})
	}
	return list
}
