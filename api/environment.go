package api

// EnvironmentStatus is what the environments of the live generation consist of: names, and never a
// value.
type EnvironmentStatus struct {
	App        string               `json:"app"`
	Release    string               `json:"release"`
	Generation int                  `json:"generation"`
	Processes  []ProcessEnvironment `json:"processes"`
}

// ProcessEnvironment is that of one process.
type ProcessEnvironment struct {
	Process   string     `json:"process"`
	Variables []Variable `json:"variables"` // by name
}

// Variable is the name of an environment variable, and where it is from.
type Variable struct {
	Name string `json:"name"`
	From string `json:"from"`
}
