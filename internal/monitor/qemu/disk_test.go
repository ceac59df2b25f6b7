package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
)

func TestMachineStartsWithItsDisks(t *testing.T) {
	onEachMachine(t, func(t *testing.T, machineType string) {
		var m tinyelf.Machine
		exit(&m, 3)
		c, stderr := config(t, imageFile(t, &m), machineType)
		for i, readOnly := range []bool{false, true} {
			// A comma must not end the name.
			name := filepath.Join(t.TempDir(), fmt.Sprintf("disk,%d", i))
			if err := os.WriteFile(name, make([]byte, 1<<20), 0o400|os.FileMode(0o200*(1-i))); err != nil {
				t.Fatal(err)
			}
			c.Disks = append(c.Disks, instance.Disk{Path: name, ReadOnly: readOnly, Rate: 10 << 20, IOPS: 100})
		}
		if got, err := instance.Run(t.Context(), c); err != nil || got != 3 {
			t.Errorf("exit code %d, %v: %s", got, err, contents(t, stderr))
		}
	})
}

func TestDiskThatIsNotThere(t *testing.T) {
	c, _ := config(t, hang(t), Microvm)
	c.Disks = []instance.Disk{{Path: "/nowhere/disk"}}
	if _, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "there is no file /nowhere/disk") {
		t.Error(err)
	}
}
