package qemu

import (
	"testing"

	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Even a KVM that cannot run everything runs this much.
func TestKVMRunsCode(t *testing.T) {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	for _, test := range []struct {
		name string
		port uint16
		ok   bool
	}{{"the port that ends it", boot.DebugExit, true}, {"another", boot.DebugText, false}} {
		var m tinyelf.Machine
		m.Out(test.port, "x")
		m.Halt()
		if err := runKVM(fd, m.Code()); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
