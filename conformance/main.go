// Command conformance runs the tests of the Go distribution in use in images: the
// tests of each package of the standard library, and the programs of its test/
// directory. The derived distribution links each test binary. pith exec runs it on
// the named monitors. The result is kept as a record beside the output. --write
// makes docs/conformance.md and .json from the records; nobody edits these files.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// options are the command's flags.
type options struct {
	monitors    []string
	run         string
	slice       string
	resume      bool
	fresh       bool
	timeout     time.Duration
	jobs        int
	write       bool
	checkExcept bool
	state       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "go run ./conformance",
		Short: "Run Go's own tests in images and keep the score",
		Long: `Run the tests of the Go distribution in use in images, in short mode, and
keep a record of each package and monitor. Monitor "plain" runs the tests of
the unchanged Go on Linux itself: what fails there too says nothing of Pith.`,
		Example: `  go run ./conformance --monitor process,qemu --run '^(os|net/http)$'
  go run ./conformance --monitor qemu --slice 2/8 --resume
  go run ./conformance --monitor plain,process,qemu --resume --write
  go run ./conformance --run '^$' --write        # the document from the records`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return conform(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&o.monitors, "monitor", []string{"process"}, "`NAMES` of monitors: "+strings.Join(monitorNames(), ", "))
	f.StringVar(&o.run, "run", "", "only packages and programs whose name matches `REGEXP`: os, net/http, test/ken/array.go")
	f.StringVar(&o.slice, "slice", "1/1", "only part `I/N` of what is selected")
	f.BoolVar(&o.resume, "resume", false, "leave out what passed already, as the same binary on the same monitor")
	f.BoolVar(&o.fresh, "fresh", false, "forget all records of this Go release first")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "`TIME` that a package's tests may take, as go test's; three times that on an emulated machine")
	f.IntVar(&o.jobs, "jobs", max(1, runtime.NumCPU()/2), "`NUMBER` of packages at once")
	f.BoolVar(&o.write, "write", false, "write "+markdownFile+" and "+jsonFile)
	f.BoolVar(&o.checkExcept, "check-exclusions", false, "run the excluded tests instead, each by itself: one that passes is an error")
	f.StringVar(&o.state, "state", "", "`FOLDER` of records and logs (default: pith/conformance in the user's cache)")
	cmd.MarkFlagsMutuallyExclusive("resume", "fresh")
	cmd.MarkFlagsMutuallyExclusive("check-exclusions", "write")
	return cmd
}

// errFailed reports failures that are already printed.
var errFailed = errors.New("there are failures that plain Linux does not have")

// conform carries out what the flags ask for.
func conform(ctx context.Context, o options) (err error) {
	chosen, err := chooseMonitors(ctx, o.monitors)
	if err != nil {
		return err
	}
	match, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	part, err := parseSlice(o.slice)
	if err != nil {
		return err
	}
	l, err := newLab(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	exclusions, err := parseExclusions(exclusionText, l.release())
	if err != nil {
		return err
	}
	all, err := l.units(ctx)
	if err != nil {
		return err
	}
	if err := exclusions.known(all.units); err != nil {
		return err
	}
	if o.state == "" {
		if o.state, err = stateFolder(); err != nil {
			return err
		}
	}
	s := store{filepath.Join(o.state, l.version)}
	if o.fresh {
		if err := s.clear(); err != nil {
			return err
		}
	}
	r := &runner{
		lab: l, store: s, exclusions: exclusions,
		timeout: o.timeout, jobs: o.jobs, resume: o.resume, out: os.Stdout,
	}
	var selected []unit
	for _, u := range all.units {
		if match.MatchString(u.name) {
			selected = append(selected, u)
		}
	}
	selected = part.of(selected)
	if o.checkExcept {
		return r.checkExclusions(ctx, selected, chosen)
	}
	failed, err := r.runAll(ctx, selected, chosen)
	if err != nil {
		return err
	}
	if o.write {
		if err := writeReport(ctx, r, all); err != nil {
			return err
		}
	}
	if failed {
		return errFailed
	}
	return nil
}

// stateFolder returns the default directory for records and logs.
func stateFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w: set --state", err)
	}
	return filepath.Join(cache, "pith", "conformance"), nil
}
