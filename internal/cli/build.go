package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/toolchain"
)

// buildFlags are the flags of build. Run has those that say what to build.
type buildFlags struct {
	tags     string
	ldflags  string
	trimpath bool
	files    []string
	verbose  bool
}

// register adds the flags. verbose is a letter for the last flag, or none.
func (b *buildFlags) register(f *pflag.FlagSet, verbose string) {
	f.StringVar(&b.tags, "tags", "", "build `TAGS`, separated by commas")
	f.StringVar(&b.ldflags, "ldflags", "", "`FLAGS` for the Go linker; without them the image has no symbol table")
	f.BoolVar(&b.trimpath, "trimpath", true, "leave the host's paths out of the image")
	f.StringArrayVar(&b.files, "file", nil, "add a file or folder to the image's root, `SRC:DST`; repeatable")
	f.BoolVarP(&b.verbose, "verbose", verbose, false, "print the names of packages as they are compiled")
}

// changed returns the name of a given flag that has a meaning only for a build; empty:
// there is none. (--verbose has a meaning for a run, too.)
func (*buildFlags) changed(f *pflag.FlagSet) string {
	for _, name := range []string{"tags", "ldflags", "trimpath", "file"} {
		if f.Changed(name) {
			return name
		}
	}
	return ""
}

func (s *session) buildCommand() *cobra.Command {
	var b buildFlags
	var output string
	var env []string
	cmd := &cobra.Command{
		Use:   "build [flags] PACKAGE [-- ARGS]",
		Short: "Build a Go program as an image",
		Long: `Build a main package as an image. PACKAGE is what go run takes: an import path,
a folder, a file, or a path with a version. ARGS and the variables of -e are the
image's defaults: pith run uses them unless it gets others.`,
		Example: `  pith build ./cmd/web -o web.pith
  pith build --file ./site:/srv/site example.com/web@v1.2.3`,
		Args: oneArg("PACKAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := b.options(args[0], cmd.Flags())
			if err != nil {
				return err
			}
			opts.Output, opts.Args = output, args[1:]
			if opts.Env, err = hostEnv(env); err != nil {
				return fmt.Errorf("build: %w", err)
			}
			_, err = s.build(cmd.Context(), opts)
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&output, "output", "o", "", "`FILE` to write; default: the program's name with the suffix .pith")
	b.register(f, "v")
	f.StringArrayVarP(&env, "env", "e", nil, "variable of the program's environment, `K=V`, or K to take it from here; repeatable")
	return cmd
}

func (b *buildFlags) options(pkg string, f *pflag.FlagSet) (image.Options, error) {
	o := image.Options{Package: pkg, Tags: b.tags, Trimpath: b.trimpath, Verbose: b.verbose}
	if f.Changed("ldflags") {
		o.Ldflags = &b.ldflags
	}
	for _, s := range b.files {
		m, err := image.ParseMapping(s)
		if err != nil {
			return o, fmt.Errorf("build: --file %s: %w", s, err)
		}
		o.Files = append(o.Files, m)
	}
	return o, nil
}

// build builds an image and warns of what in it will not work.
func (s *session) build(ctx context.Context, o image.Options) (*image.Result, error) {
	report, done := s.progress()
	defer done()
	d, err := toolchain.Derive(ctx, o.Dir, report)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	o.Stderr, o.Progress = s.stderr, report
	r, err := image.Build(ctx, d, o)
	var refusal *image.GoError
	if errors.As(err, &refusal) {
		return nil, s.report(refusal, o.Verbose)
	}
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	done()
	s.warn(r.Manifest)
	return r, nil
}

// report passes on the go command's own message, which is complete. A single line
// gets a prefix. printed reports whether the user has seen the message (-v).
func (s *session) report(e *image.GoError, printed bool) error {
	text := strings.TrimSpace(e.Output)
	if text != "" && !strings.Contains(text, "\n") {
		return fmt.Errorf("building %s: %s", e.Package, text)
	}
	if !printed {
		if _, err := io.WriteString(s.stderr, text+"\n"); err != nil {
			return err
		}
	}
	return &exitError{code: exitUser}
}

// warn names the functions that may end the program when it calls them.
func (s *session) warn(m *image.Manifest) {
	if len(m.Traps) == 0 {
		return
	}
	const shown = 5
	var names []string
	for _, t := range m.Traps[:min(shown, len(m.Traps))] {
		names = append(names, t.Function)
	}
	if n := len(m.Traps) - shown; n > 0 {
		names = append(names, fmt.Sprintf("%d more (pith inspect lists them)", n))
	}
	fmt.Fprintf(s.stderr, "pith: warning: %s: these functions have system call instructions that the library OS does not see; a call that the monitor forbids ends the program\n",
		strings.Join(names, ", "))
}
