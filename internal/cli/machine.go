package cli

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/instance"
)

// machineFlags are the flags of run that only some monitors of virtual machines
// can do.
type machineFlags struct {
	kind  string
	accel string
	cpu   string
	gdb   string
}

func (m *machineFlags) register(f *pflag.FlagSet) {
	var types, accelerators []string
	for _, mon := range monitors {
		d := mon.Describe()
		types, accelerators = append(types, d.MachineTypes...), append(accelerators, d.Accelerators...)
	}
	f.StringVar(&m.kind, "machine", "", "`TYPE` of a virtual machine: "+strings.Join(types, ", "))
	f.StringVar(&m.accel, "accel", "", "`ACCELERATOR` of a virtual machine: "+strings.Join(accelerators, " or ")+"; default: kvm where it works")
	f.StringVar(&m.cpu, "cpu-model", "", "`MODEL` of a virtual machine's CPUs, as qemu-system-x86_64 -cpu help lists them")
	f.StringVar(&m.gdb, "gdb", "", "have a virtual machine wait for a debugger at `[HOST]:PORT`")
}

// fill reads the flags into s.
func (m *machineFlags) fill(s *instance.Spec) error {
	s.Machine = instance.Machine{Type: m.kind, Accelerator: m.accel, CPUModel: m.cpu}
	if m.gdb == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(m.gdb)
	if _, ok := portNumber(port); err != nil || !ok {
		return fmt.Errorf("--gdb %s: write it as [HOST]:PORT, for example :1234", m.gdb)
	}
	if host == "" {
		host = "127.0.0.1" // a debugger may do anything with the program
	}
	s.Machine.Debugger = net.JoinHostPort(host, port)
	return nil
}
