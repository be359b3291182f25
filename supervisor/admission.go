package supervisor

// beginOwn begins a change that the daemon itself asks for. The log and the history tell its
// outcome, so its events are dropped.
func (ad *admission) beginOwn(req Request) (*change, error) {
	c, _, err := ad.begin(req)
	if err != nil {
		return nil, err
	}
	ad.async(func() {
		for range c.events {
		}
		<-c.done
	})
	return c, nil
}
