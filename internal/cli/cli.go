// Package cli is pith's command line. Each command is a file. It reads flags,
// calls the package that does the work (image, instance, doctor, toolchain) and
// turns errors into one line for the user. cmd/pith calls Main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/version"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// exitUser is the exit code when the user asked for what cannot be done. Other
// exit codes besides the program's own are in libos/boot.
const exitUser = 1

// progressDelay is how long a step takes before the user gets a progress line.
const progressDelay = time.Second

// session is what the commands share.
type session struct {
	stdin, stdout, stderr *os.File
	exitCode              int // of the program that ran
}

// exitError is an error with an exit code of its own. If err is nil, the user
// has been told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// Main runs pith with the given arguments and returns its exit code.
func Main(args []string, stdin, stdout, stderr *os.File) int {
	s := &session{stdin: stdin, stdout: stdout, stderr: stderr}
	root := s.rootCommand()
	root.SetArgs(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return s.exitCode
	}
	code := exitUser
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			err = nil
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return boot.ExitSignal(int(unix.SIGINT)) // before the program ran
	}
	if err != nil {
		fmt.Fprintln(stderr, "pith: "+oneLine(err.Error()))
	}
	return code
}

// oneLine puts an error on one line, whatever it wraps.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func (s *session) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "pith",
		Short: "Build unmodified Go programs as unikernels and run them",
		Long: `Pith turns an unmodified Go program into a unikernel: the program, the Go
runtime and a library OS, linked into one image. The image runs as a process that
may do almost nothing, without root, a container or a virtual machine. The same
file also runs as a virtual machine of its own, without an operating system.`,
		Example: `  pith run ./cmd/web -p 8080:80
  pith build ./cmd/web -o web.pith && pith run web.pith -p 8080:80`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%s is not a command: see pith --help", args[0])
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(s.stdin)
	root.SetOut(s.stdout)
	root.SetErr(s.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(s.buildCommand(), s.runCommand(), s.testCommand(), s.execCommand(), s.goCommand(), s.inspectCommand(), s.doctorCommand(), s.versionCommand())
	return root
}

// oneArg makes a command take exactly one argument, which messages call what.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		if dash := cmd.ArgsLenAtDash(); dash >= 0 {
			n = dash
		}
		switch {
		case n == 0:
			return fmt.Errorf("%s: no %s given: see %s --help", cmd.Name(), what, cmd.CommandPath())
		case n > 1:
			return fmt.Errorf("%s: unexpected argument %q: one %s is expected; the program's own arguments stand after --", cmd.Name(), args[1], what)
		}
		return nil
	}
}

// progress returns a function that reports the current step, and one that ends the
// report. A step is printed once it takes a while, and only on a terminal.
func (s *session) progress() (report func(string), done func()) {
	if !instance.IsTerminal(s.stderr) {
		return func(string) {}, func() {}
	}
	var timer *time.Timer
	stop := func() {
		if timer != nil {
			timer.Stop()
		}
	}
	report = func(what string) {
		stop()
		timer = time.AfterFunc(progressDelay, func() { fmt.Fprintf(s.stderr, "pith: %s ...\n", what) })
	}
	return report, stop
}

func (s *session) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print pith's version",
		Example: "  pith version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := io.WriteString(s.stdout, "pith "+version.Get().Long()+"\n")
			return err
		},
	}
}
