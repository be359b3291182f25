package api

// What `status` calls the health of the app: what its users get.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded" // it serves, but something does not stay up or needs a hand
	HealthDown     = "down"     // a listener on which nobody answers, or no release at all
)

// HealthKind is the Outcome.Kind with which Options.Tell is told of the health of the app; Result
// is then HealthOK, HealthDegraded or HealthDown, Error the reason, and Seconds how long it lasted
// when it is over.
const HealthKind = "health"
