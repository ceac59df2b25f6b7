package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/monitor/qemu"
	"github.com/pith-os/pith/libos/boot"
)

// monitors are the monitors in the order of preference of --monitor auto. The
// first makes no virtual machine, the others do.
var monitors = []monitor.Monitor{process.Monitor{}, qemu.Monitor{}}

const (
	defaultMemory    = "256M"
	minMemory        = 16 << 20 // the Go runtime, the library OS and a little of the program's own
	minMachineMemory = 8 << 20  // without the monitor's share of a process
	defaultHostname  = "pith"
)

type runFlags struct {
	buildFlags
	machineFlags
	publish  []string
	env      []string
	envFiles []string
	memory   string
	cpus     int
	hostname string
	monitor  string
	net      string
	trace    bool
}

func (r *runFlags) register(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringArrayVarP(&r.publish, "publish", "p", nil, "publish a port of the program, `[ADDR:]HOST:GUEST[/udp]`; repeatable")
	f.StringArrayVarP(&r.env, "env", "e", nil, "variable of the program's environment, `K=V`, or K to take it from here; repeatable")
	f.StringArrayVar(&r.envFiles, "env-file", nil, "`FILE` of such variables, one a line; repeatable")
	f.StringVar(&r.memory, "memory", defaultMemory, "memory of the instance, a `SIZE` such as 64M or 1G")
	f.IntVar(&r.cpus, "cpus", 0, "`NUMBER` of CPUs; default: this machine's")
	f.StringVar(&r.hostname, "hostname", defaultHostname, "`NAME` of the instance")
	f.StringVar(&r.monitor, "monitor", "auto", "what runs the image, a `MONITOR`: "+strings.Join(monitorNames(), ", "))
	f.StringVar(&r.net, "net", "user", "`NETWORK` of the instance: none, user")
	f.BoolVar(&r.trace, "trace", false, "print system calls to standard error, as strace does")
	r.machineFlags.register(f)
	r.buildFlags.register(f, "")
}

func monitorNames() []string {
	names := []string{"auto"}
	for _, m := range monitors {
		names = append(names, m.Name())
	}
	return names
}

func (s *session) runCommand() *cobra.Command {
	var r runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] PACKAGE|IMAGE [-- ARGS]",
		Short: "Run a Go program or an image as a unikernel",
		Long: `Run an image that pith build wrote, or build a main package and run it. The
program has standard input, output and error, and its exit code is pith's.
Ctrl-C sends it SIGINT; a second one ends it.

Exit code: the program's own; 1 for a mistake in what was asked for; 125 when
the program could not be started.`,
		Example: `  pith run ./cmd/web -p 8080:80
  pith run web.pith -p 8080:80 -e GREETING=hi -- -flag arg
  pith run example.com/tool@latest --net none -- -h
  pith run --monitor qemu web.pith -p 8080:80 -v ./data:/data:ro`,
		Args: oneArg("PACKAGE or IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd, &r, args[0], args[1:])
		},
	}
	r.register(cmd.Flags())
	return cmd
}

func (s *session) run(cmd *cobra.Command, r *runFlags, what string, args []string) (err error) {
	// Everything that can be wrong in the flags is found before a build.
	inst, err := r.instance()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	img, err := s.openOrBuild(ctx, r, what, cmd.Flags())
	if err != nil {
		return err
	}
	defer img.Close()
	if len(args) == 0 {
		args = img.Manifest.Args
	}
	c := &monitor.Config{
		Image: img.File(),
		Args:  append([]string{programName(img.Manifest.Package)}, args...),
		Env:   inst.environment(img.Manifest.Env),
		Boot: boot.Config{
			CPUs: inst.cpus, Memory: inst.memory, Hostname: r.hostname, Trace: r.trace,
		},
		Machine: inst.machine,
		Stdin:   s.stdin, Stdout: s.stdout, Stderr: s.stderr,
	}
	if slices.Contains(img.Manifest.Parts, "net") {
		if r.net == "user" {
			g, err := newUserNetwork(c, inst.ports)
			if err != nil {
				return &exitError{monitor.ExitFailure, fmt.Errorf("run: %w", err)}
			}
			defer func() {
				if cerr := g.Close(); err == nil && cerr != nil {
					err = fmt.Errorf("run: %w", cerr)
				}
			}()
		}
	} else if len(inst.ports) > 0 {
		return fmt.Errorf("run: -p %s: the program does not use package net and has no ports: leave -p out", r.publish[0])
	}
	if r.verbose {
		c.Log = func(format string, args ...any) { fmt.Fprintf(s.stderr, "pith: "+format+"\n", args...) }
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here signals are the program's: the monitor passes them on.
	code, err := inst.monitor.Run(context.WithoutCancel(ctx), c)
	if err != nil {
		return &exitError{monitor.ExitFailure, fmt.Errorf("run: %w", err)}
	}
	s.exitCode = code
	return nil
}

// openOrBuild opens the image what, or builds the package of that name. The
// image of a package is in no folder by the time it runs.
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

// isImage tells an image from a package: an image is a file, and no Go file.
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

// programName is os.Args[0]: the command's name, as go build chooses it.
func programName(pkg string) string {
	name := path.Base(pkg)
	if v, ok := strings.CutPrefix(name, "v"); ok && path.Dir(pkg) != "." {
		if n, err := strconv.Atoi(v); err == nil && n > 1 {
			name = path.Base(path.Dir(pkg)) // the major version of a module's path
		}
	}
	return name
}

// instance is what the flags of run say, checked.
type instance struct {
	monitor monitor.Monitor
	machine monitor.Machine
	memory  uint64
	cpus    int
	env     []string
	ports   []portMapping
	host    string
}

func (r *runFlags) instance() (*instance, error) {
	inst := &instance{host: r.hostname, cpus: r.cpus}
	var err error
	if inst.machine, err = r.machineFlags.check(); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	if inst.monitor, err = r.chooseMonitor(inst.machine); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	if r.net != "none" && r.net != "user" {
		return nil, fmt.Errorf("run: --net %s is not known: choose none or user", r.net)
	}
	if r.net == "none" && len(r.publish) > 0 {
		return nil, fmt.Errorf("run: -p %s: an instance with --net none has no ports: leave one of them out", r.publish[0])
	}
	if inst.memory, err = parseSize(r.memory); err != nil {
		return nil, fmt.Errorf("run: --memory %s: %w", r.memory, err)
	}
	least := uint64(minMemory)
	if inst.monitor != monitors[0] {
		least = minMachineMemory
	}
	if inst.memory < least {
		return nil, fmt.Errorf("run: --memory %s is too little: give at least %dM", r.memory, least>>20)
	}
	switch {
	case r.cpus == 0:
		inst.cpus = min(runtime.NumCPU(), boot.MaxCPUs)
	case r.cpus < 0 || r.cpus > boot.MaxCPUs:
		return nil, fmt.Errorf("run: --cpus %d: give a number from 1 to %d", r.cpus, boot.MaxCPUs)
	}
	if err := checkHostname(r.hostname); err != nil {
		return nil, fmt.Errorf("run: --hostname %s: %w", r.hostname, err)
	}
	if inst.ports, err = parsePorts(r.publish); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	for _, name := range r.envFiles {
		vars, err := readEnvFile(name)
		if err != nil {
			return nil, fmt.Errorf("run: --env-file: %w", err)
		}
		inst.env = append(inst.env, vars...)
	}
	vars, err := hostEnv(r.env)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	inst.env = append(inst.env, vars...)
	return inst, nil
}

// chooseMonitor is the monitor that was asked for, or one that can do what was.
func (r *runFlags) chooseMonitor(vm monitor.Machine) (monitor.Monitor, error) {
	i := slices.IndexFunc(monitors, func(m monitor.Monitor) bool { return r.monitor == m.Name() })
	switch {
	case r.monitor == "auto" && vm.IsZero():
		i = 0
	case r.monitor == "auto":
		i = len(monitors) - 1
	case i < 0:
		return nil, fmt.Errorf("--monitor %s is not known: choose one of %s", r.monitor, strings.Join(monitorNames(), ", "))
	case i == 0 && len(vm.Folders) > 0:
		return nil, fmt.Errorf("-v %s: monitor %s cannot share folders yet: use --monitor qemu, or add files to the image with --file", r.folders[0], r.monitor)
	case i == 0 && !vm.IsZero():
		return nil, fmt.Errorf("--machine, --accel, --cpu-model and --gdb are for virtual machines, which monitor %s does not make: use --monitor qemu", r.monitor)
	}
	return monitors[i], nil
}

// environment is the program's: defaults as in a container, then the image's
// own, then what the user gave. Nothing of the host's is inherited.
func (inst *instance) environment(image []string) []string {
	base := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"HOSTNAME=" + inst.host,
	}
	return mergeEnv(base, image, inst.env)
}
