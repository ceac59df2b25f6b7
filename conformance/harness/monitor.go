package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor"
)

// Monitor is a way to run a program.
type Monitor struct {
	Name string
	// Image reports whether it runs the image, and not the plain binary.
	Image bool
	// Machine reports whether the image runs as a virtual machine.
	Machine bool
	// Flags are the flags of pith run that choose it.
	Flags []string
	// Kinds are the flags of each kind of virtual machine that it makes.
	Kinds [][]string
	// missing returns why it runs nothing on this host; nil: it runs
	// everywhere.
	missing func() error
	// ofHost reports whether nobody can install what is missing. Then even CI
	// need not have it.
	ofHost bool
	// command prepares the start of a program that clients reach at hosts,
	// the host ports by guest port.
	command func(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error)
}

// Plain runs the plain binary as an ordinary Linux process.
var Plain = Monitor{Name: "plain", command: plainCommand}

// HostNetwork runs the image as a confined process in the network of the caller's namespace.
var HostNetwork = Monitor{Name: "net-host", Image: true, command: hostNetworkCommand()}

// HostNetworkChecked is HostNetwork with a policy, which closes addresses for documentation
// only.
var HostNetworkChecked = Monitor{Name: "net-host-policy", Image: true, command: hostNetworkCommand("--deny", "203.0.113.0/24")}

// Monitors are all ways to run a program, the plain one first: each monitor of
// pith, or each type of virtual machine that it makes.
var Monitors = allMonitors()

func allMonitors() []Monitor {
	list := []Monitor{Plain}
	for _, m := range monitor.All() {
		d := m.Describe()
		flags := []string{"--monitor", d.Name}
		if len(d.MachineTypes) == 0 {
			list = append(list, imageMonitor(d.Name, m, flags))
		}
		for _, t := range d.MachineTypes {
			list = append(list, imageMonitor(t, m, append(slices.Clone(flags), "--machine", t)))
		}
	}
	return list
}

// imageMonitor runs the image on a monitor of pith with these flags.
func imageMonitor(name string, of instance.Monitor, flags []string) Monitor {
	d := of.Describe()
	m := Monitor{Name: name, Image: true, Machine: d.VM, Flags: flags, command: imageCommand(flags...)}
	m.ofHost = !slices.ContainsFunc(d.Needs, func(r instance.Requirement) bool { return r.Install != "" })
	m.missing = sync.OnceValue(func() error { // tries once
		_, err := of.Ready(context.Background())
		return err
	})
	for _, model := range d.CPUModels {
		m.Kinds = append(m.Kinds, []string{"--cpu-model", model})
	}
	if d.VM && len(m.Kinds) == 0 {
		m.Kinds = [][]string{nil}
	}
	return m
}

// Missing returns why the monitor does not run on this host; nil: it runs.
func (m Monitor) Missing() error {
	if m.missing == nil {
		return nil
	}
	return m.missing()
}

// SelectEnv is the environment variable that limits a test run to some monitors:
// their names, separated by commas.
const SelectEnv = "PITH_TEST_MONITORS"

// Selected returns the monitors that SelectEnv asks for, or all if it is not set.
func Selected() []Monitor {
	names, ok := os.LookupEnv(SelectEnv)
	if !ok {
		return Monitors
	}
	var chosen []Monitor
	for _, m := range Monitors {
		for name := range strings.SplitSeq(names, ",") {
			if name == m.Name {
				chosen = append(chosen, m)
			}
		}
	}
	return chosen
}

// gateway is the address of the user-mode network's gateway. It stands for the host's
// loopback interface.
const gateway = "10.0.2.2"

// Command prepares the program's start on monitor m. It returns the host ports by guest
// port, for Instance.Addr.
func (l *Lab) Command(ctx context.Context, m Monitor, p Program) (cmd *exec.Cmd, hosts map[string]string, err error) {
	hosts, err = freePorts(p.Ports)
	if err != nil {
		return nil, nil, err
	}
	cmd, err = m.command(ctx, l, p, hosts)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare %s on %s: %w", p.Package, m.Name, err)
	}
	cmd.Stdin = strings.NewReader(p.Stdin)
	return cmd, hosts, nil
}

func plainCommand(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error) {
	bin, err := l.Plain(ctx, p)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(l.dir, "root-")
	if err != nil {
		return nil, err
	}
	if err := populate(root, p.Files); err != nil {
		return nil, err
	}
	where := place{root: root, host: "127.0.0.1", ports: hosts}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	cmd := exec.CommandContext(ctx, bin, where.fill(p.Args)...)
	cmd.Dir = root
	// An image brings time zones along; the host may have none.
	zones := filepath.Join(strings.TrimSpace(string(goroot)), "lib/time/zoneinfo.zip")
	cmd.Env = append(where.fill(p.Env), "ZONEINFO="+zones, "TMPDIR="+filepath.Join(root, "tmp"))
	return cmd, nil
}

// imageCommand returns a function that prepares the image's start by pith run with
// these flags.
func imageCommand(flags ...string) func(context.Context, *Lab, Program, map[string]string) (*exec.Cmd, error) {
	return func(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error) {
		image, err := l.Image(ctx, p)
		if err != nil {
			return nil, err
		}
		pith, err := l.Pith(ctx)
		if err != nil {
			return nil, err
		}
		where := place{root: "", host: gateway, ports: make(map[string]string)}
		// Plain programs reach the host's loopback interface, and so do images.
		argv := append([]string{"run", "--host-loopback"}, flags...)
		for _, guest := range p.Ports {
			where.ports[guest] = strings.TrimSuffix(guest, "/udp")
			argv = append(argv, "-p", "127.0.0.1:"+hosts[guest]+":"+guest)
		}
		return runCommand(ctx, pith, image, where, argv, p), nil
	}
}

// hostNetworkCommand is imageCommand with --net host and these flags.
func hostNetworkCommand(flags ...string) func(context.Context, *Lab, Program, map[string]string) (*exec.Cmd, error) {
	return func(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error) {
		image, err := l.Image(ctx, p)
		if err != nil {
			return nil, err
		}
		pith, err := l.Pith(ctx)
		if err != nil {
			return nil, err
		}
		where := place{root: "", host: "127.0.0.1", ports: hosts}
		argv := append([]string{"run", "--monitor", "process", "--net", "host"}, flags...)
		return runCommand(ctx, pith, image, where, argv, p), nil
	}
}

// runCommand returns the command of pith run that begins with argv.
func runCommand(ctx context.Context, pith, image string, where place, argv []string, p Program) *exec.Cmd {
	for _, e := range where.fill(p.Env) {
		argv = append(argv, "-e", e)
	}
	argv = append(argv, p.Flags...)
	argv = append(argv, image, "--")
	return exec.CommandContext(ctx, pith, append(argv, where.fill(p.Args)...)...)
}
