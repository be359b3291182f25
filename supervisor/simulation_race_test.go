//go:build race

package supervisor

// rarely: with the race detector a run of the simulator takes seven times as long. So it plays an eighth of the seeds and
// of the past failures, and tools/test plays all of them without it.
const rarely = 8
