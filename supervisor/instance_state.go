package supervisor

// instanceEvent is what can happen to an instance.
type instanceEvent string

const (
	startAsked     instanceEvent = "start asked"
	recalled       instanceEvent = "recalled" // wanted again before it has had its stop signal
	becameReady    instanceEvent = "became ready"
	startTimedOut  instanceEvent = "start timed out"
	died           instanceEvent = "died"  // exited or could not be spawned, and is to be started again
	ended          instanceEvent = "ended" // exited or could not be spawned, and is not to be started again
	backoffElapsed instanceEvent = "back-off elapsed"
	stopAsked      instanceEvent = "stop asked"
	killAsked      instanceEvent = "kill asked"
	drainElapsed   instanceEvent = "drain elapsed"
)

// instanceAction is what the owner does on a transition, after the state has changed.
type instanceAction string

const (
	doNothing instanceAction = "nothing"
	doSpawn   instanceAction = "spawn"
	doReady   instanceAction = "note readiness"
	doBackoff instanceAction = "arm the back-off"
	doStop    instanceAction = "send the stop signal"
	doRecall  instanceAction = "send no stop signal"
	doKill    instanceAction = "kill all of it"
	doGiveUp  instanceAction = "kill all of it, for it did not become ready"
	doCut     instanceAction = "kill all of it, for its drain is over"
	doRelease instanceAction = "let go of what it held"
	doFail    instanceAction = "fail its generation"
)

type instanceTransition struct {
	to InstanceState
	do instanceAction
}

// instanceTable answers every pair of state and event; a test holds it total. A pair that cannot
// occur, or that changes nothing, keeps its state and does nothing: a late timer or a second stop
// is no error.
var instanceTable = map[InstanceState]map[instanceEvent]instanceTransition{ //nolint:gochecknoglobals // a constant table; Go has no constant maps
	InstanceIdle: {
		startAsked:     {InstanceStarting, doSpawn},
		recalled:       {InstanceIdle, doNothing},
		becameReady:    {InstanceIdle, doNothing},
		startTimedOut:  {InstanceIdle, doNothing},
		died:           {InstanceIdle, doNothing},
		ended:          {InstanceIdle, doNothing},
		backoffElapsed: {InstanceIdle, doNothing},
		stopAsked:      {InstanceExited, doRelease},
		killAsked:      {InstanceExited, doRelease},
		drainElapsed:   {InstanceIdle, doNothing},
	},
	InstanceStarting: {
		startAsked:     {InstanceStarting, doNothing},
		recalled:       {InstanceStarting, doNothing},
		becameReady:    {InstanceReady, doReady},
		startTimedOut:  {InstanceKilling, doGiveUp},
		died:           {InstanceBackoff, doBackoff},
		ended:          {InstanceFailed, doFail},
		backoffElapsed: {InstanceStarting, doNothing},
		stopAsked:      {InstanceStopping, doStop},
		killAsked:      {InstanceKilling, doKill},
		drainElapsed:   {InstanceStarting, doNothing},
	},
	InstanceReady: {
		startAsked:     {InstanceReady, doNothing},
		recalled:       {InstanceReady, doNothing},
		becameReady:    {InstanceReady, doNothing},
		startTimedOut:  {InstanceReady, doNothing},
		died:           {InstanceBackoff, doBackoff},
		ended:          {InstanceFailed, doFail},
		backoffElapsed: {InstanceReady, doNothing},
		stopAsked:      {InstanceStopping, doStop},
		killAsked:      {InstanceKilling, doKill},
		drainElapsed:   {InstanceReady, doNothing},
	},
	InstanceBackoff: {
		startAsked:     {InstanceBackoff, doNothing},
		recalled:       {InstanceBackoff, doNothing},
		becameReady:    {InstanceBackoff, doNothing},
		startTimedOut:  {InstanceBackoff, doNothing},
		died:           {InstanceBackoff, doNothing},
		ended:          {InstanceBackoff, doNothing},
		backoffElapsed: {InstanceStarting, doSpawn},
		stopAsked:      {InstanceExited, doRelease},
		killAsked:      {InstanceExited, doRelease},
		drainElapsed:   {InstanceBackoff, doNothing},
	},
	InstanceStopping: {
		startAsked:     {InstanceStopping, doNothing}, // started again when it is gone
		recalled:       {InstanceReady, doRecall},
		becameReady:    {InstanceStopping, doNothing},
		startTimedOut:  {InstanceStopping, doNothing},
		died:           {InstanceStarting, doSpawn}, // wanted again while it was stopping
		ended:          {InstanceExited, doRelease},
		backoffElapsed: {InstanceStopping, doNothing},
		stopAsked:      {InstanceStopping, doNothing},
		killAsked:      {InstanceKilling, doKill},
		drainElapsed:   {InstanceKilling, doCut},
	},
	InstanceKilling: {
		startAsked:     {InstanceKilling, doNothing}, // started again when it is gone
		recalled:       {InstanceKilling, doNothing},
		becameReady:    {InstanceKilling, doNothing},
		startTimedOut:  {InstanceKilling, doNothing},
		died:           {InstanceBackoff, doBackoff}, // it had not become ready in time, and its generation is live
		ended:          {InstanceExited, doRelease},
		backoffElapsed: {InstanceKilling, doNothing},
		stopAsked:      {InstanceKilling, doNothing},
		killAsked:      {InstanceKilling, doNothing},
		drainElapsed:   {InstanceKilling, doNothing},
	},
	InstanceExited: {
		startAsked:     {InstanceStarting, doSpawn},
		recalled:       {InstanceExited, doNothing},
		becameReady:    {InstanceExited, doNothing},
		startTimedOut:  {InstanceExited, doNothing},
		died:           {InstanceExited, doNothing},
		ended:          {InstanceExited, doNothing},
		backoffElapsed: {InstanceExited, doNothing},
		stopAsked:      {InstanceExited, doNothing},
		killAsked:      {InstanceExited, doNothing},
		drainElapsed:   {InstanceExited, doNothing},
	},
	InstanceFailed: {
		startAsked:     {InstanceStarting, doSpawn},
		recalled:       {InstanceFailed, doNothing},
		becameReady:    {InstanceFailed, doNothing},
		startTimedOut:  {InstanceFailed, doNothing},
		died:           {InstanceFailed, doNothing},
		ended:          {InstanceFailed, doNothing},
		backoffElapsed: {InstanceFailed, doNothing},
		stopAsked:      {InstanceExited, doRelease},
		killAsked:      {InstanceExited, doRelease},
		drainElapsed:   {InstanceFailed, doNothing},
	},
}
