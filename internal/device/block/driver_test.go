package block

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/libos/linux"
	driver "github.com/pith-os/pith/libos/virtio/block"
)

// guest attaches libos' own driver to a disk on b.
func guest(t testing.TB, b *Backend, o Options) (*driver.Disk, *devicetest.Transport) {
	t.Helper()
	d, err := New(devicetest.Memory(t, 32<<20), b.File, b.Info, o)
	if err != nil {
		t.Fatal(err)
	}
	x := devicetest.Attach(t, d)
	disk, errno := driver.Open(x)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	return disk, x
}

// TestDiskAndFileAgree makes the same random changes on a disk and in memory,
// from several goroutines. Then it compares the file with the memory.
func TestDiskAndFileAgree(t *testing.T) {
	const size, parts = 8 << 20, 4
	folders := map[string]string{"": t.TempDir(), ", tmpfs": mount(t, "16m")}
	for kind, open := range map[string]func(testing.TB, string, bool) *Backend{"cached": buffered, "as Open does": backend} {
		for where, dir := range folders {
			t.Run(kind+where, func(t *testing.T) {
				path := filepath.Join(dir, kind)
				sparse(t, path, size)
				disk, x := guest(t, open(t, path, false), Options{Queues: 4})
				if disk.Size() != size || disk.ReadOnly() || disk.BlockSize() != 512 {
					t.Errorf("size %d, blocks of %d, read-only: %t", disk.Size(), disk.BlockSize(), disk.ReadOnly())
				}
				want := make([]byte, size)
				var all sync.WaitGroup
				for g := range parts {
					all.Go(func() {
						const part = size / parts
						change(t, disk, want[g*part:(g+1)*part], int64(g*part), rand.New(rand.NewPCG(1, uint64(g))))
					})
				}
				all.Wait()
				if errno := disk.Flush(); errno != 0 {
					t.Error("flush:", errno.Name())
				}
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("the file differs from what was written (%v)", err)
				}
				if err := x.Err(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// change makes random changes on the disk at off, and the same changes in want.
func change(t *testing.T, disk *driver.Disk, want []byte, off int64, rnd *rand.Rand) {
	for range 200 {
		lo := rnd.IntN(len(want))
		n := min(rnd.IntN(1<<rnd.IntN(19))+1, len(want)-lo)
		p, at := want[lo:lo+n], off+int64(lo)
		switch rnd.IntN(4) {
		case 0:
			got := make([]byte, n)
			if m, errno := disk.ReadAt(got, at); m != n || errno != 0 || !bytes.Equal(got, p) {
				t.Errorf("read %d at %d: %d, %s; same: %t", n, at, m, errno.Name(), bytes.Equal(got, p))
				return
			}
		case 1:
			lo, n := lo&^4095, (n+4095)&^4095
			clear(want[lo:min(lo+n, len(want))])
			if errno := disk.WriteZeroes(off+int64(lo), int64(min(n, len(want)-lo)), rnd.IntN(2) == 0); errno != 0 {
				t.Errorf("zeroes, %d at %d: %s", n, at, errno.Name())
				return
			}
		default:
			fill(p, rnd.Int())
			if m, errno := disk.WriteAt(p, at); m != n || errno != 0 {
				t.Errorf("write %d at %d: %d, %s", n, at, m, errno.Name())
				return
			}
		}
	}
}

func TestFullDiskIsAnErrorInTheGuest(t *testing.T) {
	path := filepath.Join(mount(t, "1m"), "disk.img")
	sparse(t, path, 4<<20)
	disk, _ := guest(t, backend(t, path, false), Options{})
	n, errno := disk.WriteAt(make([]byte, 2<<20), 0)
	if errno != linux.EIO || n < 512<<10 || n > 1<<20 {
		t.Errorf("it wrote %d bytes: %s", n, errno.Name())
	}
	if n, errno := disk.ReadAt(make([]byte, 4096), 0); n != 4096 || errno != 0 {
		t.Errorf("it read %d bytes: %s", n, errno.Name())
	}
}

func TestReadOnlyDisk(t *testing.T) {
	disk, _ := guest(t, backend(t, file(t, 1<<20), true), Options{Queues: 2})
	if _, errno := disk.WriteAt(make([]byte, 512), 0); !disk.ReadOnly() || errno != linux.EPERM {
		t.Errorf("read-only: %t; write: %s", disk.ReadOnly(), errno.Name())
	}
	if n, errno := disk.ReadAt(make([]byte, 1000), 1<<20-500); n != 500 || errno != 0 {
		t.Errorf("read: %d, %s", n, errno.Name())
	}
}

func TestDiscardFreesDiskSpace(t *testing.T) {
	path := file(t, 4<<20)
	disk, _ := guest(t, backend(t, path, false), Options{})
	place := func() int64 {
		f, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return blocks(f)
	}
	if _, errno := disk.WriteAt(fill(make([]byte, 4<<20), 1), 0); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := disk.Flush(); errno != 0 {
		t.Fatal(errno.Name())
	}
	full := place()
	if errno := disk.Discard(0, 3<<20); errno == linux.EOPNOTSUPP {
		t.Skip("the file system of the temporary directory cannot punch holes")
	} else if errno != 0 {
		t.Fatal(errno.Name())
	}
	if now := place(); now > full/2 {
		t.Errorf("the file still uses %d sectors of %d", now, full)
	}
}
