package config

import "superctl/fleet/inventory"

// file is the TOML as written. Pointers distinguish absent from zero.
type file struct {
	App        string    `toml:"app"`
	Releases   string    `toml:"releases"`
	Current    string    `toml:"current"`
	State      string    `toml:"state"`
	Control    string    `toml:"control"`
	Log        string    `toml:"log"`
	Keep       *int64    `toml:"keep"`
	Probation  *duration `toml:"probation"`
	Standby    *duration `toml:"standby"`
	Settle     *duration `toml:"settle"`
	Virtualenv *bool     `toml:"virtualenv"`
	User       string    `toml:"user"`
	Group      string    `toml:"group"`
	EnvFile    string    `toml:"env_file"`
	Inherit    []string  `toml:"inherit"`

	Listen  map[string]listenTable  `toml:"listen"`
	Process map[string]processTable `toml:"process"`
	Hooks   hooksTable              `toml:"hooks"`
	Cron    map[string]cronTable    `toml:"cron"`
	Notify  map[string]notifyTable  `toml:"notify"`
	Django  djangoTable             `toml:"django"`
	Secrets secretsTable            `toml:"secrets"`
	Env     map[string]any          `toml:"env"` // a string, or { credential = "NAME" }
	Shared  map[string]string       `toml:"shared"`
	Assets  map[string]assetsTable  `toml:"assets"`
	Build   buildTable              `toml:"build"`
	Install installTable            `toml:"install"`
	Trust   trustTable              `toml:"trust"`

	Fleet map[string]inventory.Table `toml:"fleet"` // for the client: the daemon has no use for it
}

// duration is a duration as written, such as "10s".
type duration string

type listenTable struct {
	Address string `toml:"address"`
	Mode    string `toml:"mode"`
	Owner   string `toml:"owner"`
	Group   string `toml:"group"`
	Backlog *int64 `toml:"backlog"`
	Gate    string `toml:"gate"`
}

type processTable struct {
	Command      any            `toml:"command"` // a string of shell words, or a list
	Listen       []string       `toml:"listen"`
	ExtraListen  []string       `toml:"extra_listen"`
	After        []string       `toml:"after"`
	Instances    *int64         `toml:"instances"`
	Strategy     string         `toml:"strategy"`
	Hold         *duration      `toml:"hold"`
	HoldPage     *bool          `toml:"hold_page"`
	Surge        *int64         `toml:"surge"`
	Drain        *duration      `toml:"drain"`
	StopSignal   string         `toml:"stop_signal"`
	Notify       bool           `toml:"notify"`
	StartTimeout *duration      `toml:"start_timeout"`
	ReadyAfter   *duration      `toml:"ready_after"`
	Server       string         `toml:"server"`
	User         string         `toml:"user"`
	Group        string         `toml:"group"`
	NoFile       *int64         `toml:"nofile"`
	MemoryMax    any            `toml:"memory_max"` // "512M", or a number of bytes
	CPUWeight    *int64         `toml:"cpu_weight"`
	Recycle      *recycleTable  `toml:"recycle"`
	Env          map[string]any `toml:"env"`
	Health       *healthTable   `toml:"health"`
	Guard        any            `toml:"guard"` // "revert", "warn" or "off", or a table

	DrainConnections *duration `toml:"drain_connections"`
	DrainHook        *bool     `toml:"drain_hook"`
}

// healthTable is [process.NAME.health]: the settings of all checks, and the keys of one check, if
// the table is one.
type healthTable struct {
	Interval       *duration    `toml:"interval"`
	HealthyAfter   *int64       `toml:"healthy_after"`
	UnhealthyAfter *duration    `toml:"unhealthy_after"`
	Check          []checkTable `toml:"check"`
	Always         bool         `toml:"always"`
	AlwaysInterval *duration    `toml:"always_interval"`
	AlwaysFailures *int64       `toml:"always_failures"`

	Kind       string            `toml:"kind"`
	Listen     []string          `toml:"listen"`
	Timeout    *duration         `toml:"timeout"`
	Path       *string           `toml:"path"`
	Host       string            `toml:"host"`
	Scheme     string            `toml:"scheme"`
	Headers    map[string]string `toml:"headers"`
	Status     any               `toml:"status"` // a number, or a list of numbers
	Contains   string            `toml:"contains"`
	MaxLatency *duration         `toml:"max_latency"`
	Protocol   string            `toml:"protocol"`
	Command    any               `toml:"command"`
}

// checkTable is one [[process.NAME.health.check]].
type checkTable struct {
	Kind       string            `toml:"kind"` // "http", "tcp" or "exec"
	Listen     []string          `toml:"listen"`
	Timeout    *duration         `toml:"timeout"`
	Path       *string           `toml:"path"`
	Host       string            `toml:"host"`
	Scheme     string            `toml:"scheme"`
	Headers    map[string]string `toml:"headers"`
	Status     any               `toml:"status"`
	Contains   string            `toml:"contains"`
	MaxLatency *duration         `toml:"max_latency"`
	Protocol   string            `toml:"protocol"`
	Command    any               `toml:"command"`
}

type hooksTable struct {
	// a command, or a list of commands, each a string, a list of words, or a table with run and once
	Before         any       `toml:"before"`
	After          any       `toml:"after"`
	OnAbort        any       `toml:"on_abort"`
	OnRevert       any       `toml:"on_revert"`
	BeforeRollback bool      `toml:"before_rollback"`
	Timeout        *duration `toml:"timeout"`
}

type assetsTable struct {
	From string    `toml:"from"`
	To   string    `toml:"to"`
	Keep *duration `toml:"keep"`
}

type djangoTable struct {
	Migrations string   `toml:"migrations"`
	Manage     string   `toml:"manage"`
	Databases  []string `toml:"databases"`
}
