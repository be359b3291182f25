package api

// Strategy is how the workers of a new generation replace those of the old one (DESIGN 7).
type Strategy string

// The strategies.
const (
	Overlap Strategy = "overlap" // start and prove all new workers, cut over, drain the old ones (blue/green)
	Rolling Strategy = "rolling" // replace a few instances at a time
	Single  Strategy = "single"  // stop the old workers, then start the new ones; they never run together (recreate)
	// like single, for processes with listeners: new connections wait in the kernel's queue
	// meanwhile
	Hold Strategy = "hold"
)
