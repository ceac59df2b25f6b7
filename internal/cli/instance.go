package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/libos/boot"
)

const (
	minMemory        = 16 << 20 // the Go runtime, the library OS and a little of the program's own
	minMachineMemory = 8 << 20  // without the monitor's share of a process
	defaultHostname  = "pith"
)

// instanceFlags say what an image runs in; run and exec have them.
type instanceFlags struct {
	machineFlags
	deviceFlags
	memory   string
	cpus     int
	hostname string
	folders  []string
	monitor  string
	trace    bool
}

func (i *instanceFlags) register(f *pflag.FlagSet, memory string) {
	f.StringVar(&i.memory, "memory", memory, "memory of the instance, a `SIZE` such as 64M or 1G")
	f.IntVar(&i.cpus, "cpus", 0, "`NUMBER` of CPUs; default: this machine's")
	f.StringVar(&i.hostname, "hostname", defaultHostname, "`NAME` of the instance")
	f.StringArrayVarP(&i.folders, "volume", "v", nil, "share a folder with the program, `HOST:GUEST[:ro]`; repeatable")
	f.StringVar(&i.monitor, "monitor", "auto", "what runs the image, a `MONITOR`: "+strings.Join(monitorNames(), ", "))
	f.BoolVar(&i.trace, "trace", false, "print system calls to standard error, as strace does")
	i.deviceFlags.register(f)
	i.machineFlags.register(f)
}

// instance is what to run an image in: what the flags say, checked, and what the
// command adds.
type instance struct {
	monitor choice
	machine monitor.Machine
	devices devices
	folders []monitor.Folder
	boot    boot.Config // without network
	ports   []portMapping
	verbose bool

	args []string // of the program, its name first
	env  []string
}

// instance reads the flags. preferred is the monitor that --monitor auto tries
// first, by name.
func (i *instanceFlags) instance(ctx context.Context, preferred string) (*instance, error) {
	inst := &instance{boot: boot.Config{CPUs: i.cpus, Hostname: i.hostname, Trace: i.trace}}
	var err error
	if inst.machine, err = i.machineFlags.check(); err != nil {
		return nil, err
	}
	if inst.devices, err = i.deviceFlags.check(); err != nil {
		return nil, err
	}
	if inst.folders, err = parseFolders(i.folders); err != nil {
		return nil, err
	}
	if inst.monitor, err = chooseMonitor(ctx, i.monitor, preferred, inst.needs()); err != nil {
		return nil, err
	}
	if inst.boot.Memory, err = parseSize(i.memory); err != nil {
		return nil, fmt.Errorf("--memory %s: %w", i.memory, err)
	}
	least := uint64(minMachineMemory)
	if inst.monitor.Name() == processes {
		least = minMemory
	}
	if inst.boot.Memory < least {
		return nil, fmt.Errorf("--memory %s is too little: give at least %dM", i.memory, least>>20)
	}
	if inst.devices.limits.HugePages && inst.boot.Memory%hugePage != 0 {
		return nil, fmt.Errorf("--memory %s: with --hugepages it is in pages of %dM: give a multiple of that", i.memory, hugePage>>20)
	}
	switch {
	case i.cpus == 0:
		inst.boot.CPUs = min(runtime.NumCPU(), boot.MaxCPUs)
	case i.cpus < 0 || i.cpus > boot.MaxCPUs:
		return nil, fmt.Errorf("--cpus %d: give a number from 1 to %d", i.cpus, boot.MaxCPUs)
	}
	if err := checkHostname(i.hostname); err != nil {
		return nil, fmt.Errorf("--hostname %s: %w", i.hostname, err)
	}
	return inst, nil
}

// needs are what the instance asks for that not every monitor can do.
func (inst *instance) needs() (needs []monitor.Need) {
	vm, d := inst.machine, inst.devices
	for _, n := range []struct {
		need  monitor.Need
		asked bool
	}{
		{monitor.NeedType, vm.Type != ""},
		{monitor.NeedAccel, vm.Accel != ""},
		{monitor.NeedCPU, vm.CPU != ""},
		{monitor.NeedGDB, vm.GDB != ""},
		{monitor.NeedDisks, len(d.disks) > 0},
		{monitor.NeedVsock, d.vsock != ""},
		{monitor.NeedTap, d.tap != ""},
		{monitor.NeedHugePages, d.limits.HugePages},
	} {
		if n.asked {
			needs = append(needs, n.need)
		}
	}
	return needs
}

// defaultEnv is what the program's environment begins with, as in a container:
// nothing of the host's is inherited.
func (inst *instance) defaultEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"HOSTNAME=" + inst.boot.Hostname,
	}
}

// start runs an image and keeps its exit code.
func (s *session) start(ctx context.Context, inst *instance, img *image.Image) (err error) {
	c := &monitor.Config{
		Image: img.File(), Args: inst.args, Env: inst.env,
		Boot: inst.boot, Folders: inst.folders, Machine: inst.machine,
		Disks: inst.devices.disks, Vsock: inst.devices.vsock, Limits: inst.devices.limits,
		Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr,
	}
	if slices.Contains(img.Manifest.Parts, "net") {
		network, err := inst.newNetwork(c)
		if err != nil {
			return &exitError{monitor.ExitFailure, err}
		}
		defer func() { err = errors.Join(err, network.Close()) }()
	}
	if inst.verbose {
		c.Log = func(format string, args ...any) { fmt.Fprintf(s.stderr, "pith: "+format+"\n", args...) }
		c.Log("monitor %s", inst.monitor)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here signals are the program's: the monitor passes them on.
	code, err := inst.monitor.Run(context.WithoutCancel(ctx), c)
	if err != nil {
		return &exitError{monitor.ExitFailure, err}
	}
	s.exitCode = code
	return nil
}
