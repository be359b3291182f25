package api

// PackageChanges is how the packages of two virtualenvs differ. Each list is in the order of names.
type PackageChanges struct {
	Added   []PackageChange `json:"added,omitempty"`
	Removed []PackageChange `json:"removed,omitempty"`
	Changed []PackageChange `json:"changed,omitempty"`
}

// PackageChange is one package, by its normalized name, with its versions in the live release (From)
// and in the other one (To); "" = the release does not have it.
type PackageChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}
