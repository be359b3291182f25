package api

// The steps of a change, in the order in which a switch takes them (DESIGN 6): Step.Name,
// Event.Step and ChangeStatus.Step.
const (
	StepAdopt     = "adopt"      // find what an earlier daemon has left running
	StepResolve   = "resolve"    // read the config and find the release
	StepShare     = "share"      // link the shared paths
	StepInspect   = "migrations" // compare the migrations with the database
	StepBefore    = "before"     // the before hooks
	StepPreflight = "preflight"  // start one worker behind a private listener
	StepBoot      = "boot"       // start the workers
	StepProve     = "prove"      // wait until they answer
	StepCanary    = "canary"     // try them on a part of the connections
	StepWithdraw  = "withdraw"   // end that
	StepCutover   = "cutover"    // turn the gates
	StepFollow    = "follow"     // start the processes without listeners
	StepSettle    = "settle"     // let the old workers accept what is queued
	StepProbation = "probation"  // watch the new ones
	StepRetire    = "retire"     // have the old workers finish
	StepAfter     = "after"      // the after hooks
	StepOnAbort   = "on_abort"   // the on_abort hooks
	StepOnRevert  = "on_revert"  // the on_revert hooks
	StepRevert    = "revert"     // turn the gates back
	StepRestart   = "restart"    // start workers of one process again
	StepScale     = "scale"      // change how many workers there are
	StepPause     = "pause"      // stop a background process
	StepResume    = "resume"     // start it again
	StepQuiesce   = "quiesce"    // stop the background processes of the old release
	StepHold      = "hold"       // keep connections in the queue
	StepRoll      = "roll"       // replace a few workers at a time
	StepDrain     = "drain"      // have the old workers finish before the new ones start
	StepComeBack  = "come back"  // bring back what was stopped
)
