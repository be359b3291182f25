// Package config reads the config file of an app.
//
// It is strict: an unknown key, a value of the wrong type and an impossible value are errors with
// file, line and column, all reported at once. It looks up users and reads the env_file, but
// nothing else outside the file: it does not check that directories exist or ports are free.
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
	Text       []byte // as it was read
	Sum        string // hash of Text
	App        string
	Releases   string
	Current    string // "" = no link
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
	Crons     []Cron          // sorted by name
	Notify    []notify.Target // sorted by name
	Django    Django
	Secrets   Secrets
	Env       []Variable        // of all processes and hooks: env_file, then [env]; the last value of a name wins
	Inherit   []string          // names of the daemon's variables to pass on; a trailing * matches any ending
	Shared    map[string]string // paths inside a release, and the path outside that each links to
	Assets    []Assets          // sorted by name
	Install   Install
	Warnings  []string
	Ignored   []string // lines of env_file that set no variable

	credentials []credentialUse
}

// Hooks is [hooks].
type Hooks struct {
	Before, After, OnAbort, OnRevert [][]string
	// Once is the positions of the commands with once = true, by the key of their list.
	Once map[string][]int

	BeforeRollback bool // run Before for rollbacks too
	Timeout        time.Duration
}

// Django is [django].
type Django struct {
	Check     bool // check the migrations before a switch and a rollback
	Manage    string
	Databases []string
}

// User is the user that runs workers.
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
	ExtraListen  []string // additional addresses on which its workers may listen: patterns of package socket
	After        []string // for a process without listeners: those that must be ready before it starts
	Instances    int
	Strategy     api.Strategy
	Hold         time.Duration // for strategy hold
	HoldPage     bool          // for strategy hold: after that, new connections get the maintenance page
	Surge        int           // for strategy rolling
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
	CPUWeight    uint64         // 0 = the default, 100
	Recycle      *Recycle       // nil = no worker is replaced while it serves
	Health       *health.Policy // nil = no check; Protocol "" = the preset's

	Guard *Guard // nil = off

	DrainConnections time.Duration // before the stop signal
	StopsAtOnce      bool          // the config sets DrainConnections to 0
	DrainHook        bool          // its workers may load it
}
