package files_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/virtio"
	virtioninep "github.com/pith-os/pith/libos/virtio/ninep"
	"github.com/pith-os/pith/libos/virtio/qemutest"
)

// qemuEnv is set in the child process, which has a tree of files of its own.
const qemuEnv = "PITH_TEST_QEMU_FOLDER"

func TestRandomFileOperationsByQEMUsNinePAsOnLinux(t *testing.T) {
	if shared == "" {
		t.Skip("needs /dev/shm")
	}
	if os.Getenv(qemuEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.short="+map[bool]string{true: "true", false: "false"}[testing.Short()])
		cmd.Env = append(os.Environ(), qemuEnv+"=1")
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil:
			t.Fatalf("%v\n%s", err, out)
		case strings.Contains(string(out), "--- SKIP"):
			t.Skipf("%s", out)
		}
		return
	}
	// The first use builds the tree. This process has not used it yet.
	m := qemutest.Start(t,
		"-fsdev", "local,id=f,path="+shared+",security_model=none,multidevs=remap",
		"-device", "virtio-9p-device,fsdev=f,mount_tag=folder")
	d, errno := virtioninep.Open(m.Device(virtio.IDNineP))
	if errno == 0 {
		errno = d.Start()
	}
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	fs, errno := ninep.New(d, false)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	fs.Mount(d.Tag(), qemuPath)
	rounds := uint64(8)
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		if !compareFiles(t, randomProgram(seed), qemuPath) {
			t.Fatalf("seed %d", seed)
		}
	}
}

// qemuPath is where the child process has the directory.
const qemuPath = "/qemu"
