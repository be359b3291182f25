//go:build !race

package supervisor

// rarely: see simulation_race_test.go.
const rarely = 1
