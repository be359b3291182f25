package guard

import "time"

// Quantile is a quantile of the durations by which the latency of two releases is compared. An answer
// is slow if it takes longer than Limit, and slow answers are judged as errors are.
type Quantile struct {
	Name       string // such as "p95"
	Of         float64
	Thresholds Thresholds
}

// Quantiles returns the quantiles that are compared. By the least share the quantile of the new
// release is above the limit.
func Quantiles() []Quantile {
	return []Quantile{
		{Name: "p50", Of: 0.5, Thresholds: Thresholds{Least: 0.5, Points: 0.1, Factor: 1, Odds: slowOdds}},
		{Name: "p95", Of: 0.95, Thresholds: Thresholds{Least: 0.05, Points: 0.02, Factor: 2, Odds: slowOdds}},
	}
}

const (
	// DefaultSlower is how many times as long a quantile must at least be. With it a quantile that has
	// doubled is found, and not only half of the time.
	DefaultSlower = 1.5
	// LeastAnswers is the number of answers of the old release from which its quantiles are known.
	LeastAnswers = 100

	leastSlower = 10 * time.Millisecond // a smaller difference is not noticed

	// Durations of one page come in clumps, more than errors do, so a verdict needs better odds.
	slowOdds = 1000

	warmUpSeconds  = 10
	warmUpRequests = 50
)

// Limit returns the duration from which an answer is slow. was is the quantile of the old release.
func Limit(was time.Duration, slower float64) time.Duration {
	return max(time.Duration(float64(was)*slower), was+leastSlower)
}
