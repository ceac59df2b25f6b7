package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/ninetest"
)

const sharedPath = "/nine"

// shared is a directory of the host. The tests' file tree has it at sharedPath, by 9P.
var shared = func() string {
	dir, err := os.MkdirTemp("/dev/shm", "pith-9p")
	if err != nil {
		return ""
	}
	fs, errno := ninep.New(ninetest.New(dir), false)
	if errno != 0 {
		panic(errno.Name())
	}
	fs.Mount("test", sharedPath)
	return dir
}()

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

// notByNineP has the operations that the protocol has no request for.
var notByNineP = map[string]bool{
	"fallocate": true, "fsetxattr": true, "fgetxattr": true, "fremovexattr": true,
}

func TestRandomFileOperationsByNinePAsOnLinux(t *testing.T) {
	if shared == "" {
		t.Skip("needs /dev/shm")
	}
	rounds := uint64(300)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		if !compareFiles(t, randomProgram(seed), sharedPath) {
			t.Fatalf("seed %d", seed)
		}
	}
	if left, err := filepath.Glob(shared + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v %v", left, err)
	}
}
