package harness

import (
	"time"

	"superctl/load"
)

// Mixed is a load like that of a real site: half of the clients keep their connections, and some
// requests are short, some have a body, some take a second, and some have a response of 2 MB.
func Mixed() load.Config {
	get, post := load.Get("/"), load.Post("/echo", 4<<10)
	slow, stream := load.Get("/slow?s=1"), load.Pattern("/stream", 2<<20)
	get.Weight, post.Weight, slow.Weight, stream.Weight = 20, 20, 1, 1
	return load.Config{
		Rate: 30, Clients: 16, KeepAlive: true, FreshClients: 8, MaxDuration: time.Hour,
		Shapes: []load.Shape{get, post, slow, stream},
	}
}
