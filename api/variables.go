package api

// VariableChanges names the variables that differ between the live release and the one that a change
// goes to. It never has a value.
type VariableChanges struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"` // other values
}
