package api

// The health of the app as its users experience it.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded" // users are served, but a worker keeps failing or a person must act
	HealthDown     = "down"     // no worker answers on a listener, or no release is live
)

// HealthKind is the Outcome.Kind of a notification about the health of the app. Result is then
// HealthOK, HealthDegraded or HealthDown, Error is the reason, and Seconds is how long an episode
// that has ended lasted.
const HealthKind = "health"
