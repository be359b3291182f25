package api

// Strategy is how the workers of a new generation replace those of the old one (DESIGN 7).
type Strategy string

// The strategies.
const (
	Overlap Strategy = "overlap" // all new staged and proved, cutover, old drained
	Rolling Strategy = "rolling" // a few instances at a time
	Single  Strategy = "single"  // old stopped and gone, then new started; two never run at once
	// like single, for processes with listeners: connections wait in the kernel's queue meanwhile
	Hold Strategy = "hold"
)
