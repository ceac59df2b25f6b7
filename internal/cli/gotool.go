package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pith-os/pith/internal/toolchain"
)

func (s *session) testCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [flags] [PACKAGES] [flags of the test binary]",
		Short: "Run Go tests in unikernels",
		Long: `Run the tests of packages as go test does, each package in an image of its own.
Flags, output and exit codes are those of go test: see go help test and go help
testflag. These flags of pith run say what the images run in:

  ` + testFlagNames() + `

Tests start in the folder of their package and see the folder of their module.
Coverage, profiles, -json, -timeout, seeds of fuzz tests and benchmarks work as
with go test. As with every -exec, go does not cache the results. The race
detector needs cgo, and fuzzing needs more processes: use go test for these.`,
		Example: `  pith test ./...
  pith test --monitor qemu -run TestX -v -count=3 ./pkg
  pith test -cover -bench . -json ./...`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if isHelp(args) {
				return cmd.Help()
			}
			own, args, err := splitTestFlags(args)
			if err != nil {
				return fmt.Errorf("test: %w", err)
			}
			return s.becomeGo(cmd.Context(), own, append([]string{"test"}, args...))
		},
	}
}

func (s *session) goCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "go COMMAND [ARGS]",
		Short: "Run the go command of the derived distribution",
		Long: `Run the go command of the distribution that Pith derives from yours. Programs that
it builds run as images: go test and go run start them by themselves, with pith
exec. The tools of pith go tool are those of your own distribution, and run on
the host.`,
		Example: `  pith go vet ./...
  pith go env GOROOT
  pith go test -exec "pith exec --monitor qemu" ./...`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if isHelp(args) || len(args) == 0 {
				return cmd.Help()
			}
			return s.becomeGo(cmd.Context(), nil, args)
		},
	}
}

func isHelp(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0])
}

// testFlags are the flags of an instance that test has, too, with the value that each has
// when none is given. It leaves out those with the name of a flag of go test: -trace, -v.
var testFlags = func() *pflag.FlagSet {
	all, some := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	new(instanceFlags).register(all, testMemory)
	all.VisitAll(func(f *pflag.Flag) {
		if f.Name != "trace" && f.Name != "volume" {
			some.AddFlag(f)
		}
	})
	return some
}()

// testFlagNames lists the testFlags for a help text.
func testFlagNames() string {
	var names []string
	testFlags.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	const perLine = 8
	var lines []string
	for part := range slices.Chunk(names, perLine) {
		lines = append(lines, strings.Join(part, " "))
	}
	return strings.Join(lines, "\n  ")
}

// splitTestFlags separates the flags for pith exec from those for go, and refuses
// flags of go test that no image can do.
func splitTestFlags(args []string) (own, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, valued := strings.Cut("--"+strings.TrimLeft(arg, "-"), "=")
		flag := testFlags.Lookup(strings.TrimPrefix(name, "--"))
		switch {
		case !strings.HasPrefix(arg, "-"):
			rest = append(rest, arg)
		case name == "--args":
			return own, append(rest, args[i:]...), nil
		case flag != nil && !valued && flag.NoOptDefVal != "":
			own = append(own, name)
		case flag != nil && !valued && i+1 == len(args):
			return nil, nil, fmt.Errorf("%s has no value: see pith test --help", arg)
		case flag != nil && !valued:
			i++
			own = append(own, name+"="+fromHere(name, args[i]))
		case flag != nil:
			own = append(own, name+"="+fromHere(name, value))
		case slices.Contains([]string{"--race", "--msan", "--asan"}, name) && value != "false":
			return nil, nil, fmt.Errorf("%s needs cgo, which no image has: use go test %s beside pith test", arg, arg)
		case name == "--fuzz":
			return nil, nil, fmt.Errorf("%s starts processes, which no image can: fuzz with go test, and run the inputs that it finds with pith test", arg)
		default:
			rest = append(rest, arg)
		}
	}
	return own, rest, nil
}

// fromHere makes a path absolute: tests start in the folders of their packages, and
// not in the current one.
func fromHere(flag, value string) string {
	if flag != "--disk" && flag != "--vsock" {
		return value
	}
	abs, err := filepath.Abs(value)
	if err != nil { // there is no current folder
		return value
	}
	return abs
}

// becomeGo executes the go command of the derived distribution in place of pith. Go
// test and go run start programs with pith exec and the given flags.
func (s *session) becomeGo(ctx context.Context, execFlags, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	report, done := s.progress()
	defer done()
	d, err := toolchain.Derive(ctx, "", report)
	if err != nil {
		return err
	}
	done()
	at := 0 // the place of the command's name; one flag may stand before it
	if args[0] == "-C" {
		at = 2
	} else if strings.HasPrefix(args[0], "-C") {
		at = 1
	}
	cmd := d.Command(ctx)
	if at < len(args) {
		switch args[at] {
		case "test", "run":
			words := append([]string{self, "exec"}, execFlags...)
			args = slices.Insert(slices.Clone(args), at+1, "-exec="+quoteWords(words))
		case "tool":
			cmd = toolchain.HostCommand(ctx, d.Host)
		}
	}
	if err := unix.Exec(cmd.Path, append(cmd.Args, args...), cmd.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return nil
}

// quoteWords joins words in the way in which the go command splits the value of -exec:
// a word with spaces stands in quotes, in which no character is special.
func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		switch {
		case !strings.ContainsAny(w, " \t\n\r'\""):
		case strings.Contains(w, "'"):
			w = `"` + w + `"`
		default:
			w = "'" + w + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}
