package worker

import "superctl/supervisor/worker/starter"

// Credential is the user that a worker runs as. It takes effect only when the daemon is root.
type Credential = starter.Credential
