package api

// GenerationState is where a generation stands (DESIGN 2).
type GenerationState string

// The states of a generation.
const (
	Booting  GenerationState = "booting"  // its workers start; not proved
	Staged   GenerationState = "staged"   // proved, without traffic
	Live     GenerationState = "live"     // takes the traffic
	Standby  GenerationState = "standby"  // kept warm behind the live one: for a probation or a rollback
	Draining GenerationState = "draining" // finishing what it has
	Gone     GenerationState = "gone"     // nothing is left of it
)

// InstanceState is where one instance of a process stands.
type InstanceState string

// The states of an instance.
const (
	InstanceIdle     InstanceState = "idle"     // not wanted yet
	InstanceStarting InstanceState = "starting" // spawned, not proved by an answer
	InstanceReady    InstanceState = "ready"
	InstanceBackoff  InstanceState = "backoff"  // died; is started again when the back-off has elapsed
	InstanceStopping InstanceState = "stopping" // has its stop signal, may finish what it has
	InstanceKilling  InstanceState = "killing"  // has SIGKILL
	InstanceExited   InstanceState = "exited"   // gone, and nobody wants it
	InstanceFailed   InstanceState = "failed"   // gone before its generation was proved; nobody starts it again
)
