package api

// GenerationState is the state of a generation (DESIGN 2).
type GenerationState string

// The states of a generation.
const (
	Booting  GenerationState = "booting"  // its workers start and are not proved yet
	Staged   GenerationState = "staged"   // proved, without traffic
	Live     GenerationState = "live"     // gets the new connections
	Standby  GenerationState = "standby"  // kept warm for a rollback or a revert
	Draining GenerationState = "draining" // finishes its requests
	Gone     GenerationState = "gone"     // has no workers and no listeners
)

// InstanceState is the state of one instance of a process.
type InstanceState string

// The states of an instance.
const (
	InstanceIdle     InstanceState = "idle"     // not started yet
	InstanceStarting InstanceState = "starting" // spawned, not proved by an answer
	InstanceReady    InstanceState = "ready"
	InstanceBackoff  InstanceState = "backoff"  // died; starts again after the back-off
	InstanceStopping InstanceState = "stopping" // was sent its stop signal and finishes its requests
	InstanceKilling  InstanceState = "killing"  // was sent SIGKILL
	InstanceExited   InstanceState = "exited"   // ended and is not needed any more
	InstanceFailed   InstanceState = "failed"   // ended before its generation was proved; is not started again
)

// LingerFor is what a worker that gets no new connections waits for before its stop signal.
type LingerFor string

// What a worker waits for.
const (
	Connections LingerFor = "connections" // that its clients leave: drain_connections, or the drain hook
	Answers     LingerFor = "answers"     // that each connection has had an answer, so that no request is just arriving
)
