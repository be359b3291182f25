// Bench measures superctl. `bench` alone takes single figures of it, `bench switch` those of a
// switch, `bench hook` what the drain hook costs, `bench many [PROCESSES]` a thousand workers or
// ten for each process, and `bench compare` sets it beside what people use instead: with the same
// Django project, the same load and the same number of workers.
//
// It judges nothing: times depend on the machine. What must hold is in the tests.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

func main() {
	harness.Guardian()
	if err := bench(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(args []string) error {
	measure := figuresBench
	if len(args) > 0 {
		switch args[0] {
		case "hook":
			measure = hookBench
		case "switch":
			measure = switchBench
		case "many":
			n := manyProcesses
			if len(args) > 1 {
				var err error
				if n, err = strconv.Atoi(args[1]); err != nil || n < manyChain {
					return fmt.Errorf("bench many %s: the number of processes is at least %d", args[1], manyChain)
				}
			}
			measure = manyBench(n)
		case "compare":
			opt, err := compareOptions(args[1:])
			if err != nil {
				return err
			}
			measure = opt.compare
		default:
			return fmt.Errorf(
				"%q: what is measured is compare, hook, many or switch, or nothing for single figures", args[0],
			)
		}
	}
	run, err := harness.NewRun()
	if err != nil {
		return err
	}
	return errors.Join(measure(run), run.Close())
}

var names = [2]string{"r1", "r2"} //nolint:gochecknoglobals // what the two releases are called

// importing is how many seconds the app takes to be imported in the comparison.
const importing = 2.0

// behaviour is that of both releases.
func behaviour() apps.Behaviour { return apps.Behaviour{ImportSeconds: importing} }
