package api

// The steps of a change, in the order in which a switch takes them (DESIGN 6): Step.Name,
// Event.Step and ChangeStatus.Step.
const (
	StepWait      = "wait"       // wait for another change, or for the lock of a run
	StepAdopt     = "adopt"      // find the workers of an earlier daemon
	StepResolve   = "resolve"    // read the config and find the release
	StepShare     = "share"      // link the shared paths
	StepInspect   = "migrations" // compare the migrations with the database
	StepBefore    = "before"     // the before hooks
	StepPublish   = "publish"    // add the static files of the release to those of the others
	StepPreflight = "preflight"  // start one worker behind a private listener
	StepBoot      = "boot"       // start the workers
	StepProve     = "prove"      // wait until the workers answer
	StepCanary    = "canary"     // send a part of the connections to the new workers
	StepReady     = "ready"      // wait for the word to cut over
	StepWithdraw  = "withdraw"   // end a canary
	StepCutover   = "cutover"    // turn the gates
	StepFollow    = "follow"     // start the processes without listeners
	StepSettle    = "settle"     // let the old workers accept their queued connections
	StepProbation = "probation"  // watch the new workers
	StepRetire    = "retire"     // let the old workers finish
	StepAfter     = "after"      // the after hooks
	StepOnAbort   = "on_abort"   // the on_abort hooks
	StepOnRevert  = "on_revert"  // the on_revert hooks
	StepRevert    = "revert"     // turn the gates back
	StepRestart   = "restart"    // replace the workers of one process
	StepScale     = "scale"      // change the number of workers
	StepPause     = "pause"      // stop a background process
	StepResume    = "resume"     // start a paused process
	StepQuiesce   = "quiesce"    // stop the background processes of the old release
	StepHold      = "hold"       // keep new connections in the queue
	StepRoll      = "roll"       // replace a few workers at a time
	StepDrain     = "drain"      // let the old workers finish before the new ones start
	StepComeBack  = "come back"  // start again what the aborted change stopped
)
