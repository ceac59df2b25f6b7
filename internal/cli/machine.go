package cli

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// machineFlags are the flags of run that only a virtual machine can do.
type machineFlags struct {
	kind  string
	accel string
	cpu   string
	gdb   string
}

func (m *machineFlags) register(f *pflag.FlagSet) {
	f.StringVar(&m.kind, "machine", "", "`TYPE` of a virtual machine: "+strings.Join(qemu.MachineTypes, ", "))
	f.StringVar(&m.accel, "accel", "", "`ACCELERATOR` of a virtual machine: kvm or tcg; default: kvm where it works")
	f.StringVar(&m.cpu, "cpu-model", "", "`MODEL` of a virtual machine's CPUs, as qemu-system-x86_64 -cpu help lists them")
	f.StringVar(&m.gdb, "gdb", "", "have a virtual machine wait for a debugger at `[HOST]:PORT`")
}

// check reads the flags.
func (m *machineFlags) check() (monitor.Machine, error) {
	vm := monitor.Machine{Type: m.kind, Accel: m.accel, CPU: m.cpu}
	if m.kind != "" && !slices.Contains(qemu.MachineTypes, m.kind) {
		return vm, fmt.Errorf("--machine %s is not known: choose one of %s", m.kind, strings.Join(qemu.MachineTypes, ", "))
	}
	if m.accel != "" && m.accel != qemu.KVM && m.accel != qemu.TCG {
		return vm, fmt.Errorf("--accel %s is not known: choose %s or %s", m.accel, qemu.KVM, qemu.TCG)
	}
	if strings.ContainsFunc(m.cpu, func(r rune) bool { return r <= ' ' }) {
		return vm, fmt.Errorf("--cpu-model %q: write it without spaces", m.cpu)
	}
	if m.gdb != "" {
		host, port, err := net.SplitHostPort(m.gdb)
		if _, ok := portNumber(port); err != nil || !ok {
			return vm, fmt.Errorf("--gdb %s: write it as [HOST]:PORT, for example :1234", m.gdb)
		}
		if host == "" {
			host = "127.0.0.1" // a debugger may do everything with the program
		}
		vm.GDB = net.JoinHostPort(host, port)
	}
	return vm, nil
}
