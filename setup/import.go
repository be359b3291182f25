package setup

// Import is what the config of another supervisor or server says of an app. An empty field is
// unknown.
type Import struct {
	App  string
	User string
	Dir  string // in which the app runs now

	Listen    []Listener
	Processes []Process
	Before    []string
	Env       []Variable
	Secrets   []Variable // variables whose value looks like a secret
	EnvFile   string
	DropIn    []string // directives for [Service] of the unit
	Unit      []string // directives for [Unit]
	Keep      int      // releases; 0 = unknown

	// name of the config file, if the project must say which app gunicorn serves
	GunicornConfig string

	Domains []string
	Lines   []Line
}

// Verdict is what became of a line of an imported file.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"     // it is in the plan
	BuiltIn Verdict = "built in" // superctl does it by itself
	Dropped Verdict = "left out" // superctl has no counterpart
)

// Line says what became of a line of an imported file.
type Line struct {
	File    string  `json:"file"`
	From    int     `json:"from"` // number of its first line, from 1
	To      int     `json:"to"`
	Text    string  `json:"text"` // without the values of secrets
	Verdict Verdict `json:"verdict"`
	Key     string  `json:"key,omitempty"` // of the config, or where else it is kept
	Why     string  `json:"why,omitempty"`
}
