package supervisor

// generationEvent is what can happen to a generation.
type generationEvent string

const (
	proved     generationEvent = "proved"
	cutOver    generationEvent = "cut over" // the gate turned to it
	superseded generationEvent = "superseded"
	retired    generationEvent = "retired" // is to stop
	emptied    generationEvent = "emptied" // its last worker is gone
)

// generationTable answers every pair of state and event; a test holds it total.
var generationTable = map[GenerationState]map[generationEvent]GenerationState{ //nolint:gochecknoglobals // a constant table; Go has no constant maps
	Booting: {
		proved:     Staged,
		cutOver:    Live, // when a daemon starts, nothing else could serve meanwhile
		superseded: Booting,
		retired:    Draining,
		emptied:    Booting, // every worker failed to start: the switch is about to retire it
	},
	Staged: {
		proved:     Staged,
		cutOver:    Live,
		superseded: Staged,
		retired:    Draining,
		emptied:    Staged,
	},
	Live: {
		proved:     Live,
		cutOver:    Live,
		superseded: Standby,
		retired:    Draining,
		emptied:    Live,
	},
	Standby: {
		proved:     Standby,
		cutOver:    Live, // a rollback or a revert
		superseded: Standby,
		retired:    Draining,
		emptied:    Standby,
	},
	Draining: {
		proved:     Draining,
		cutOver:    Live, // a revert behind a shared gate, whose old workers had to stop at once
		superseded: Draining,
		retired:    Draining,
		emptied:    Gone,
	},
	Gone: {
		proved:     Gone,
		cutOver:    Gone,
		superseded: Gone,
		retired:    Gone,
		emptied:    Gone,
	},
}
