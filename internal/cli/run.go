package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/network"
)

type runFlags struct {
	buildFlags
	instanceFlags
	publish  []string
	env      []string
	envFiles []string
}

func (r *runFlags) register(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringArrayVarP(&r.publish, "publish", "p", nil, "publish a port of the program, `[ADDR:]HOST:GUEST[/udp]`; repeatable")
	f.StringArrayVarP(&r.env, "env", "e", nil, "variable of the program's environment, `K=V`, or K to take it from here; repeatable")
	f.StringArrayVar(&r.envFiles, "env-file", nil, "`FILE` of such variables, one a line; repeatable")
	r.instanceFlags.register(f, "256M")
	r.buildFlags.register(f, "")
}

func (s *session) runCommand() *cobra.Command {
	var r runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] PACKAGE|IMAGE [-- ARGS]",
		Short: "Run a Go program or an image as a unikernel",
		Long: `Run an image that pith build wrote, or build a main package and run it. The
program has pith's standard input, output and error, and pith exits with the
program's exit code. Ctrl-C sends it SIGINT; a second Ctrl-C kills it.

It runs as a virtual machine if KVM runs code on the host, else as a confined
process. If a flag needs something that one of them cannot do, another one runs
it. --monitor chooses, and --verbose says what was chosen and why.

Exit code: the program's own; 128 plus the number of the signal that ended it;
137 if it ran out of memory; 125 if it could not be run; 1 for a mistake in the
command line.`,
		Example: `  pith run ./cmd/web -p 8080:80
  pith run web.pith -p 8080:80 -e GREETING=hi -- -flag arg
  pith run example.com/tool@latest --net none -- -h
  pith run --monitor qemu web.pith -p 8080:80 -v ./data:/data:ro
  pith run --monitor kvm db.pith --disk data.img --disk-rate 50M --net tap:tap0`,
		Args: oneArg("PACKAGE or IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd, &r, args[0], args[1:])
		},
	}
	r.register(cmd.Flags())
	return cmd
}

func (s *session) run(cmd *cobra.Command, r *runFlags, what string, args []string) (err error) {
	// Mistakes in the flags are found before a build.
	p, err := r.check(cmd.Context())
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	img, err := s.openOrBuild(cmd.Context(), r, what, cmd.Flags())
	if err != nil {
		return err
	}
	defer img.Close()
	if len(r.publish) > 0 && !slices.Contains(img.Manifest.Parts, "net") {
		return fmt.Errorf("run: -p %s: the program does not use package net and has no ports: leave -p out", r.publish[0])
	}
	if len(args) == 0 {
		args = img.Manifest.Args
	}
	p.Args = append([]string{programName(img.Manifest.Package)}, args...)
	p.Env = mergeEnv(p.defaultEnv(), img.Manifest.Env, p.Env)
	if err := s.start(cmd.Context(), p, img); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// openOrBuild opens the image what, or builds the package of that name. The image of
// a package has lost its name by the time it runs.
func (s *session) openOrBuild(ctx context.Context, r *runFlags, what string, f *pflag.FlagSet) (*image.Image, error) {
	if isImage(what) {
		if flag := r.changed(f); flag != "" {
			return nil, fmt.Errorf("run: --%s: %s is built already: leave the flag out, or give a package", flag, what)
		}
		img, err := image.Open(what)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("run: there is no image %s: make it with pith build -o %s PACKAGE", what, what)
		case errors.Is(err, image.ErrNotImage):
			return nil, fmt.Errorf("run: %s: %w: give a package, or a file that pith build wrote", what, err)
		case errors.Is(err, image.ErrTruncated), errors.Is(err, image.ErrAltered):
			return nil, fmt.Errorf("run: %s: %w: build it again with pith build -o %s PACKAGE", what, err, what)
		case err != nil:
			return nil, fmt.Errorf("run: %w", err)
		}
		return img, nil
	}
	opts, err := r.options(what, f)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pith-run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	opts.Output = filepath.Join(dir, "image")
	if _, err := s.build(ctx, opts); err != nil {
		return nil, err
	}
	return image.Open(opts.Output)
}

// isImage reports whether name is an image, and not a package: it is a file, and no
// Go file.
func isImage(name string) bool {
	if strings.HasSuffix(name, ".go") {
		return false
	}
	fi, err := os.Stat(name)
	if err != nil {
		return strings.HasSuffix(name, ".pith")
	}
	return !fi.IsDir()
}

// programName returns os.Args[0]: the command's name, as go build chooses it.
func programName(pkg string) string {
	name := path.Base(pkg)
	if v, ok := strings.CutPrefix(name, "v"); ok && path.Dir(pkg) != "." {
		if n, err := strconv.Atoi(v); err == nil && n > 1 { // a module's major version
			name = path.Base(path.Dir(pkg))
		}
	}
	return name
}

// check reads the flags and finds what is wrong with them.
func (r *runFlags) check(ctx context.Context) (*plan, error) {
	p, err := r.plan(ctx, machines)
	if err != nil {
		return nil, err
	}
	p.verbose = r.verbose
	ports, err := parsePorts(r.publish)
	if err != nil {
		return nil, err
	}
	if len(ports) > 0 {
		user, ok := p.Network.(network.User)
		switch {
		case p.Network == nil:
			return nil, fmt.Errorf("-p %s: an instance with --net none has no ports: leave out one of the two flags", r.publish[0])
		case r.net == netHost:
			return nil, fmt.Errorf("-p %s: with --net host the program listens on the host's own ports: leave out -p", r.publish[0])
		case !ok:
			return nil, fmt.Errorf("-p %s: an instance with --net tap has its own address: leave out -p", r.publish[0])
		}
		for _, m := range ports {
			if m.udp {
				user.Datagrams = append(user.Datagrams, network.Datagrams{Host: m.host, Guest: m.guest})
			} else {
				p.publish = append(p.publish, m)
			}
		}
		p.Network = user
	}
	for _, name := range r.envFiles {
		vars, err := readEnvFile(name)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		p.Env = append(p.Env, vars...)
	}
	vars, err := hostEnv(r.env)
	p.Env = append(p.Env, vars...)
	return p, err
}
