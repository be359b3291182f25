package maintenance

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"
)

// Arg is the hidden first argument with which superctl serves the page. The daemon starts it as it
// starts every worker.
const Arg = "serve-maintenance"

// Command returns the arguments after the program with which a worker serves a page. An empty path is
// the default page.
func Command(retryAfter time.Duration, path string) []string {
	args := []string{Arg, "--retry-after", retryAfter.String()}
	if path != "" {
		args = append(args, "--page", path)
	}
	return args
}

// Main serves the page that the arguments after Arg describe until SIGTERM or SIGINT, and returns the
// exit code.
func Main(args []string, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, args, stderr); err != nil {
		fmt.Fprintf(stderr, "superctl %s: %v\n", Arg, err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet(Arg, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("page", "", "the page")
	retryAfter := flags.Duration("retry-after", DefaultRetryAfter, "the Retry-After header")
	if err := flags.Parse(args); err != nil {
		return err
	}
	body, err := ReadPage(*path)
	if err != nil { // a page that was cleared away must not leave users without an answer
		fmt.Fprintf(stderr, "superctl %s: %v; the default page is shown\n", Arg, err)
		body = defaultPage
	}
	listeners, err := Inherited()
	if err != nil {
		return err
	}
	return Page{Body: body, RetryAfter: *retryAfter}.Serve(ctx, listeners)
}
