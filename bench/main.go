// Bench measures superctl. `bench` alone measures single figures, `bench switch` a switch,
// `bench hook` the cost of the drain hook, `bench many [PROCESSES]` a thousand workers or ten for
// each process, `bench fleet [HOSTS]` switches of several hosts, and `bench compare` compares superctl with other tools: with the same Django
// project, the same load and the same number of workers.
//
// It asserts nothing, because times depend on the machine. The tests assert what must hold.
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
		case "fleet":
			n := fleetHosts
			if len(args) > 1 {
				var err error
				if n, err = strconv.Atoi(args[1]); err != nil || n < fleetTogether {
					return fmt.Errorf("bench fleet %s: the number of hosts is at least %d", args[1], fleetTogether)
				}
			}
			measure = fleetBench(n)
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
				"%q: what is measured is compare, fleet, hook, many or switch, or nothing for single figures", args[0],
			)
		}
	}
	run, err := harness.NewRun()
	if err != nil {
		return err
	}
	return errors.Join(measure(run), run.Close())
}

var names = [2]string{"r1", "r2"} //nolint:gochecknoglobals // the names of the two releases

// importing is how many seconds the import of the app takes in the comparison.
const importing = 2.0

// behaviour returns the behaviour of both releases.
func behaviour() apps.Behaviour { return apps.Behaviour{ImportSeconds: importing} }
