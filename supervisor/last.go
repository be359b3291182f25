package supervisor

// Last is what was live when the daemon wrote its state; a zero Release where none was.
type Last struct {
	Release, Previous Release
	Running           []Release // of the generations that had workers, or a change that went to them
}

// ReadLast reads what was live last from the state directory of an app whose daemon does not run.
func ReadLast(dir, app string) (Last, error) {
	st, err := readState(dir, app)
	var last Last
	if st.Release != nil {
		last.Release = *st.Release
	}
	if st.Previous != nil {
		last.Previous = *st.Previous
	}
	for i := range st.Generations {
		last.Running = append(last.Running, st.Generations[i].Plan.Release)
	}
	return last, err
}
