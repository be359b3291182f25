package releases

import "strings"

// Reserved returns why a release cannot set a variable, and "" if it can.
func Reserved(name string) string {
	switch name {
	case "PATH", "VIRTUAL_ENV":
		return "superctl sets it from the release's virtualenv"
	case "HOME", "USER", "LOGNAME":
		return "superctl sets it from the user of the workers"
	case "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY":
		return "superctl sets it itself"
	}
	if strings.HasPrefix(name, "SUPERCTL_") || strings.HasPrefix(name, "LISTEN_") {
		return "superctl sets it itself"
	}
	return ""
}
