package block

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/qemutest"
)

const qemuSize = 8 << 20

// qemuDisk starts QEMU with a disk that is backed by the file at path.
func qemuDisk(t *testing.T, drive, device string) (d *Disk, path string) {
	t.Helper()
	path = t.TempDir() + "/disk"
	if err := os.WriteFile(path, make([]byte, qemuSize), 0o600); err != nil {
		t.Fatal(err)
	}
	m := qemutest.Start(t, "-blockdev", "driver=file,node-name=file,discard=unmap,filename="+path,
		"-blockdev", drive+",node-name=disk", "-device", "virtio-blk-device,drive=disk"+device)
	d, errno := Open(m.Device(virtio.IDBlock))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.dev.Shutdown)
	return d, path
}

// TestQEMUsDiskIsAFile makes the same random operations on QEMU's disk and on a
// byte slice.
func TestQEMUsDiskIsAFile(t *testing.T) {
	for _, device := range []string{"", ",logical_block_size=4096,physical_block_size=4096", ",num-queues=4,queue-size=16", ",seg-max-adjust=off"} {
		d, path := qemuDisk(t, "driver=raw,file=file", device)
		if d.Size() != qemuSize {
			t.Fatalf("%q: disk has size %d", device, d.Size())
		}
		want := make([]byte, qemuSize)
		rnd := rand.New(rand.NewPCG(5, 6))
		for range 60 {
			off := rnd.Int64N(qemuSize)
			n := int(min(rnd.Int64N(1<<rnd.IntN(20))+1, qemuSize-off))
			p := want[off : off+int64(n)]
			var got int
			var errno linux.Errno
			switch rnd.IntN(4) {
			case 0:
				off, n = off&^4095, (n+4095)&^4095
				got, errno = n, d.WriteZeroes(off, int64(n), rnd.IntN(2) == 0)
				clear(want[off : off+int64(n)])
			case 1:
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				got, errno = d.WriteAt(p, off)
			default:
				have := make([]byte, n)
				got, errno = d.ReadAt(have, off)
				if !bytes.Equal(have, p) {
					t.Fatalf("%q: read other data: %d bytes at %d", device, n, off)
				}
			}
			if got != n || errno != 0 {
				t.Fatalf("%q: transferred %d of %d bytes: %s", device, got, n, errno.Name())
			}
		}
		if errno := d.Flush(); errno != 0 {
			t.Errorf("flush: %s", errno.Name())
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%q: the file has other data (error %v)", device, err)
		}
	}
}

func TestErrorsOfQEMUsDisk(t *testing.T) {
	const sector = 8192
	d, _ := qemuDisk(t, "driver=blkdebug,image=file,inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.sector="+strconv.Itoa(sector), ",rerror=report")
	p := make([]byte, 4096)
	if n, errno := d.ReadAt(p, sector*512+100); n != 0 || errno != linux.EIO {
		t.Errorf("reading a bad sector returned %d, %q, want EIO", n, errno.Name())
	}
	if n, errno := d.ReadAt(p, 0); n != len(p) || errno != 0 {
		t.Errorf("reading a good sector returned %d, %q", n, errno.Name())
	}
}

func TestQEMUsReadOnlyDisk(t *testing.T) {
	d, _ := qemuDisk(t, "driver=raw,file=file,read-only=on", "")
	if !d.ReadOnly() {
		t.Error("the disk is not read-only")
	}
	if _, errno := d.WriteAt(make([]byte, 512), 0); errno != linux.EPERM {
		t.Errorf("write to a read-only disk: %q, want EPERM", errno.Name())
	}
}

func TestQEMUsDiskDiscards(t *testing.T) {
	d, path := qemuDisk(t, "driver=raw,file=file,discard=unmap", "")
	d.WriteAt(bytes.Repeat([]byte{'x'}, qemuSize), 0)
	if errno := d.Discard(1<<20, 4<<20); errno != 0 {
		t.Fatal(errno.Name())
	}
	// QEMU makes a hole, if the file system supports holes.
	data, err := os.ReadFile(path)
	if err != nil || data[1<<20-1] != 'x' || data[5<<20] != 'x' {
		t.Errorf("the discard changed other data (error %v)", err)
	}
}
