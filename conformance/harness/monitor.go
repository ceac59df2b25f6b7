package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pith-os/pith/internal/kvm/probe"
)

// Monitor is a way to run a program.
type Monitor struct {
	Name string
	// Image says that it runs the image and not the plain binary.
	Image bool
	// Machine says that the image is a virtual machine.
	Machine bool
	// Flags are those of pith run that choose it.
	Flags []string
	// Kinds are the flags of each kind of machine that it makes.
	Kinds [][]string
	// missing says why it runs nothing on this machine; nil: it runs
	// everywhere.
	missing func() error
	// ofHost says that nobody can install what is missing: not even CI must
	// have it.
	ofHost bool
	// command prepares the start of a program that is to be reached at hosts,
	// the host ports by guest port.
	command func(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error)
}

// Plain runs the plain binary as an ordinary Linux process.
var Plain = Monitor{Name: "plain", command: plainCommand}

// Monitors are all ways to run a program, the plain one first. A new monitor
// of pith joins every test by one line here.
var Monitors = []Monitor{
	Plain,
	imageMonitor(Monitor{Name: "process"}, "--monitor", "process"),
	imageMonitor(Monitor{Name: "kvm", Machine: true, Kinds: [][]string{nil}, missing: kvmMissing, ofHost: true}, "--monitor", "kvm"),
	qemuMonitor("microvm"),
	qemuMonitor("q35"),
}

// qemuMonitor runs the image on a machine type of QEMU.
func qemuMonitor(machine string) Monitor {
	kinds := [][]string{{"--cpu-model", "max"}, {"--cpu-model", "qemu64"}}
	return imageMonitor(Monitor{Name: machine, Machine: true, Kinds: kinds, missing: qemuMissing},
		"--monitor", "qemu", "--machine", machine)
}

// kvmMissing and qemuMissing try once.
var (
	kvmMissing = sync.OnceValue(func() error {
		_, err := probe.Run(context.Background())
		return err
	})
	qemuMissing = sync.OnceValue(func() error {
		_, err := exec.LookPath("qemu-system-x86_64")
		return err
	})
)

func imageMonitor(m Monitor, flags ...string) Monitor {
	m.Image, m.Flags, m.command = true, flags, imageCommand(flags...)
	return m
}

// Missing says why the monitor does not run on this machine; nil: it does.
func (m Monitor) Missing() error {
	if m.missing == nil {
		return nil
	}
	return m.missing()
}

// SelectEnv names the environment variable that limits a test run to some
// monitors, by name and separated by commas.
const SelectEnv = "PITH_TEST_MONITORS"

// Selected are the monitors that SelectEnv asks for: all, when it is not set.
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

// gateway is the address of the user-mode network's gateway, which stands for
// the host's loopback.
const gateway = "10.0.2.2"

// Command prepares the program's start on monitor m. hosts are the host ports
// by guest port, as Instance.Addr needs them.
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
	// An image brings time zones along; a machine may have none.
	zones := filepath.Join(strings.TrimSpace(string(goroot)), "lib/time/zoneinfo.zip")
	cmd.Env = append(where.fill(p.Env), "ZONEINFO="+zones, "TMPDIR="+filepath.Join(root, "tmp"))
	return cmd, nil
}

// imageCommand prepares the image's start by pith run with these flags.
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
		argv := append([]string{"run"}, flags...)
		for _, guest := range p.Ports {
			where.ports[guest] = strings.TrimSuffix(guest, "/udp")
			argv = append(argv, "-p", "127.0.0.1:"+hosts[guest]+":"+guest)
		}
		for _, e := range where.fill(p.Env) {
			argv = append(argv, "-e", e)
		}
		argv = append(argv, p.Flags...)
		argv = append(argv, image, "--")
		return exec.CommandContext(ctx, pith, append(argv, where.fill(p.Args)...)...), nil
	}
}
