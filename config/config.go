// Package config reads the config file of an app.
//
// It is strict: a key that it does not know, a value of the wrong type and a value that cannot be are errors with file,
// line and column, all of them at once. It looks up users and the env_file, and nothing else outside the file: whether
// directories exist and ports are free is for those who use them.
package config

import (
	"io/fs"
	"time"

	"superctl/api"
	"superctl/notify"
	"superctl/socket"
	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

// Config is a config file with its defaults filled in.
type Config struct {
	Path       string // of the file, absolute
	Sum        string // identifies its text
	App        string
	Releases   string
	Current    string // "" = no link is kept
	State      string // directory
	Control    string // path of the control socket
	Log        string // file; "" = the daemon's output
	Keep       int
	Probation  time.Duration
	Standby    time.Duration
	Settle     time.Duration
	Virtualenv bool // releases have one
	User       *User
	Group      string // of the control socket

	Listen    []Listen
	Processes []Process
	Hooks     Hooks
	Notify    []notify.Target // in the order of their names
	Django    Django
	Env       []Variable        // of all processes and hooks: env_file, then [env]; a later one of a name wins
	Inherit   []string          // names of the daemon's own variables, of which an ending * stands for any
	Shared    map[string]string // paths inside a release, and the path outside that each is a link to
	Install   Install
	Warnings  []string
	Ignored   []string // what of env_file sets no variable, with its line

	credentials []credentialUse
}

// Hooks is [hooks].
type Hooks struct {
	Before, After, OnAbort, OnRevert [][]string

	BeforeRollback bool // Before is for rollbacks too
	Timeout        time.Duration
}

// Django is [django].
type Django struct {
	Check     bool // of the migrations, before a switch and a rollback
	Manage    string
	Databases []string
}

// User is who workers run as.
type User struct {
	Name, Home string
	Credential worker.Credential
}

// Listen is one [listen.NAME].
type Listen struct {
	Name    string
	Address socket.Address
	Mode    fs.FileMode // of a unix socket; 0 = the default
	Owner   string      // likewise; "" = the daemon's
	Group   string
	Backlog int
	Gate    string // "", "auto", "steer", "rename" or "shared"
}

// Process is one [process.NAME].
type Process struct {
	Name         string
	Command      []string
	Listen       []string
	ExtraListen  []string // other addresses on which its workers may listen: patterns of package socket
	After        []string // of a process without listeners: those that are ready before it starts
	Instances    int
	Strategy     api.Strategy
	Hold         time.Duration // of strategy hold
	Surge        int           // of strategy rolling
	Drain        time.Duration
	StopSignal   int // 0 = the server's preset
	Notify       bool
	StartTimeout time.Duration
	ReadyAfter   time.Duration
	Server       string
	User         *User
	Env          []Variable
	NoFile       uint64
	MemoryMax    uint64         // bytes; 0 = no limit
	CPUWeight    uint64         // 0 = everybody's, 100
	Health       *health.Policy // nil = it is not asked; Protocol "" = the preset's

	DrainConnections time.Duration // before the stop signal
	StopsAtOnce      bool          // the config says that DrainConnections is 0
	DrainHook        bool          // its workers may load it
}
