package memfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// Random changes must have the same effect on a file as on a slice, in chunks
// and in a region.
func TestDataAreWhatWasWritten(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		fs := New(0)
		r := fs.newRegular(0o600, 1)
		rnd := rand.New(rand.NewPCG(1, 2))
		var want []byte
		if mapped {
			if errno := r.toRegion(1); errno != 0 {
				t.Fatal(errno.Name())
			}
		}
		for range 2000 {
			off, n := rnd.Int64N(300000), rnd.IntN(70000)
			switch rnd.IntN(4) {
			case 0:
				if errno := r.truncate(off); errno != 0 {
					t.Fatal(errno.Name())
				}
				want = append(want[:min(int(off), len(want))], make([]byte, max(0, int(off)-len(want)))...)
			case 1:
				r.zero(off, int64(n))
				for i := off; i < min(off+int64(n), int64(len(want))); i++ {
					want[i] = 0
				}
			default:
				p := bytes.Repeat([]byte{byte(rnd.IntN(255) + 1)}, n)
				if got, errno := r.writeAt(p, off); errno != 0 || got != n {
					t.Fatal(errno.Name())
				}
				if end := int(off) + n; n > 0 && end > len(want) {
					want = append(want, make([]byte, end-len(want))...)
				}
				copy(want[min(int(off), len(want)):], p)
			}
			got := make([]byte, len(want)+10)
			if n := r.readAt(got, 0); n != len(want) || !bytes.Equal(got[:n], want) {
				t.Fatalf("mapped %v: the file has %d bytes, want %d, or the bytes differ", mapped, n, len(want))
			}
		}
		r.nlink = 0
		if r.reclaim(); fs.used.Load() != 0 {
			t.Errorf("mapped %v: %d pages are still charged", mapped, fs.used.Load())
		}
	}
}

func TestSparseFilesAreCheap(t *testing.T) {
	fs := New(1 << 20)
	r := fs.newRegular(0o600, 1)
	if errno := r.truncate(maxSize); errno != 0 {
		t.Fatal(errno.Name())
	}
	if _, errno := r.writeAt([]byte("end"), maxSize-3); errno != 0 {
		t.Fatal(errno.Name())
	}
	if at, errno := r.seek(0, true); errno != 0 || at != maxSize-pageSize {
		t.Errorf("seek found data at %d, want the last page: %s", at, errno.Name())
	}
	if _, errno := r.writeAt([]byte("x"), maxSize); errno != linux.EFBIG {
		t.Errorf("writing beyond maxSize: %s, want EFBIG", errno.Name())
	}
	if _, errno := r.writeAt(make([]byte, 2<<20), 0); errno != linux.ENOSPC {
		t.Errorf("writing more than the limit: %s, want ENOSPC", errno.Name())
	}
}

func TestListingSurvivesChanges(t *testing.T) {
	const n = 100000
	fs := New(0)
	root := fs.Top(fs.Root())
	d := fs.root
	for i := range n {
		if _, errno := d.Make(root, fmt.Sprint(i), &vfs.NewInode{Mode: linux.S_IFREG}); errno != 0 {
			t.Fatal(errno.Name())
		}
	}
	// Like os.RemoveAll: read some entries, remove them, continue.
	pos, seen := int64(0), 0
	for {
		var names []string
		d.List(pos, func(e vfs.DirEntry) bool {
			names = append(names, e.Name)
			pos = e.Next
			return len(names) < 1000
		})
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			child, errno := d.Lookup(root, name)
			if errno != 0 {
				t.Fatalf("%s: %s", name, errno.Name())
			}
			if errno := d.Unlink(child); errno != 0 {
				t.Fatal(errno.Name())
			}
			seen++
		}
	}
	if seen != n || len(d.order) > 100 {
		t.Errorf("listed %d of %d entries; %d slots are left, want at most 100", seen, n, len(d.order))
	}
}
