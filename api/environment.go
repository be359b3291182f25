package api

// EnvironmentStatus lists the environment variables of the live generation: their names, never
// their values.
type EnvironmentStatus struct {
	App        string               `json:"app"`
	Release    string               `json:"release"`
	Generation int                  `json:"generation"`
	Processes  []ProcessEnvironment `json:"processes"`
}

// ProcessEnvironment lists the variables of one process.
type ProcessEnvironment struct {
	Process   string     `json:"process"`
	Variables []Variable `json:"variables"` // sorted by name
}

// Variable is the name of an environment variable and the source of its value.
type Variable struct {
	Name string `json:"name"`
	From string `json:"from"`
}
