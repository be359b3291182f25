package supervisor

import "superctl/api"

// The words of the wire, under the names that this package uses.
//
//nolint:revive // api documents them
type (
	Request            = api.Request
	Kind               = api.Kind
	BusyError          = api.BusyError
	RefusedError       = api.RefusedError
	Result             = api.Result
	Outcome            = api.Outcome
	Step               = api.Step
	Event              = api.Event
	Canary             = api.Canary
	CanaryStatus       = api.CanaryStatus
	EnvironmentStatus  = api.EnvironmentStatus
	ProcessEnvironment = api.ProcessEnvironment
	Variable           = api.Variable
	Status             = api.Status
	Trouble            = api.Trouble
	ChangeStatus       = api.ChangeStatus
	GenerationStatus   = api.GenerationStatus
	ProcessStatus      = api.ProcessStatus
	WorkerStatus       = api.WorkerStatus
	ListenerStatus     = api.ListenerStatus
	Requests           = api.Requests
	Measures           = api.Measures
	ProcessRequests    = api.ProcessRequests
	Uncounted          = api.Uncounted
	GenerationState    = api.GenerationState
	InstanceState      = api.InstanceState
	LogLine            = api.LogLine
	LogQuery           = api.LogQuery
	Origin             = api.Origin
	Peer               = api.Peer
	Strategy           = api.Strategy
)

// Switch and the constants after it are their values.
const (
	Switch           = api.Switch
	Rollback         = api.Rollback
	Reload           = api.Reload
	Restart          = api.Restart
	Scale            = api.Scale
	Pause            = api.Pause
	Resume           = api.Resume
	Upgrade          = api.Upgrade
	Done             = api.Done
	Aborted          = api.Aborted
	Reverted         = api.Reverted
	HealthOK         = api.HealthOK
	HealthDegraded   = api.HealthDegraded
	HealthDown       = api.HealthDown
	HealthKind       = api.HealthKind
	ControlGroups    = api.ControlGroups
	ProcessGroups    = api.ProcessGroups
	Booting          = api.Booting
	Staged           = api.Staged
	Live             = api.Live
	Standby          = api.Standby
	Draining         = api.Draining
	Gone             = api.Gone
	InstanceIdle     = api.InstanceIdle
	InstanceStarting = api.InstanceStarting
	InstanceReady    = api.InstanceReady
	InstanceBackoff  = api.InstanceBackoff
	InstanceStopping = api.InstanceStopping
	InstanceKilling  = api.InstanceKilling
	InstanceExited   = api.InstanceExited
	InstanceFailed   = api.InstanceFailed
	Overlap          = api.Overlap
	Rolling          = api.Rolling
	Single           = api.Single
	Hold             = api.Hold
)
