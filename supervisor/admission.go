package supervisor

// beginOwn begins a change that the daemon itself asks for. The log and the history tell its
// outcome, so its events are dropped.
func (ad *admission) beginOwn(req Request) error {
	c, _, err := ad.begin(req)
	if err == nil {
		ad.async(c.dropEvents)
	}
	return err
}
