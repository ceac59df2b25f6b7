package kvm

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

func FuzzEntry(f *testing.F) {
	note := func(name string, kind uint32, value []byte) (n []byte) {
		for _, v := range []uint32{uint32(len(name)), uint32(len(value)), kind} {
			n = binary.LittleEndian.AppendUint32(n, v)
		}
		for _, s := range []string{name, string(value)} {
			n = append(n, s...)
			n = append(n, make([]byte, -len(s)&3)...)
		}
		return n
	}
	f.Add([]byte{})
	f.Add(note(noteName, noteEntry, []byte{1, 2, 3, 4}))
	f.Add(append(note("GNU\x00", 3, []byte("twenty")), note(noteName, noteEntry, []byte{1, 2, 3, 4, 0, 0, 0, 0})...))
	f.Add(note(noteName, noteEntry, []byte{1, 2}))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 18, 0, 0, 0, 'X', 'e', 'n', 0})
	f.Add([]byte{4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n'})
	f.Fuzz(func(t *testing.T, notes []byte) {
		addr, ok := findEntry(binary.LittleEndian, notes)
		if !ok && addr != 0 || ok && !strings.Contains(string(notes), noteName) {
			t.Errorf("%#x, %v", addr, ok)
		}
	})
}

// FuzzImage maps images with any contents. Each mapping must be within the image's file and
// the memory.
func FuzzImage(f *testing.F) {
	const size = 16 << 20
	good := ending(0)
	f.Add(good)
	f.Add(good[:len(good)/2])
	for at := 24; at < 64+2*56; at += 8 {
		bad := slices.Clone(good)
		bad[at] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, contents []byte) {
		fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		image := os.NewFile(uintptr(fd), "image")
		defer image.Close()
		if _, err := image.Write(contents); err != nil {
			t.Fatal(err)
		}
		_, _ = entry(image) // must return
		s, err := mapImage(image, size)
		if s.mem != nil {
			defer unix.Munmap(s.mem)
		}
		if err != nil {
			return
		}
		if s.addr < lineEnd || s.addr+uint64(len(s.mem)) > size-guest.RoomToStart {
			t.Fatalf("%d bytes at %#x", len(s.mem), s.addr)
		}
		sum := byte(0)
		for _, b := range s.mem { // all of it must be readable
			sum += b
		}
		_ = sum
	})
}

// FuzzPorts writes any data to the ports. Only valid exit codes may result.
func FuzzPorts(f *testing.F) {
	f.Add(uint16(boot.DebugControl), true, []byte("exit 7\n"))
	f.Add(uint16(boot.DebugControl), true, []byte("exit 256\nexit -1\nexit 0x1\nexit 3"))
	f.Add(uint16(boot.DebugText), false, []byte("....."))
	f.Add(uint16(boot.DebugExit), true, []byte{0})
	f.Add(uint16(0x3f8), false, []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, port uint16, write bool, data []byte) {
		p := newPorts(nil)
		for range 3 {
			err := p.access(kvm.IO{Port: port, Write: write, Size: 1, Data: slices.Clone(data)})
			if end := port == boot.DebugExit && write; (err == errEnd) != end || err != nil && !end {
				t.Errorf("port %#x: %v", port, err)
			}
		}
		if p.exit < noExit || p.exit > 255 {
			t.Errorf("exit code %d", p.exit)
		}
	})
}

// FuzzBootLine checks that the guest gets the boot parameters unchanged, with any arguments
// and environment.
func FuzzBootLine(f *testing.F) {
	f.Add("web", "A=b c")
	f.Add("", "=")
	f.Add("pid=2 \x01%00", "env=A=b\ncpus=9\xff")
	f.Fuzz(func(t *testing.T, arg, env string) {
		asked := boot.Config{CPUs: 2, Memory: 1 << 20, Args: []string{"program", arg}, Env: []string{env, "B=c"}}
		device := "virtio_mmio.device=4K@0xd0000000:0"
		got, err := boot.Parse(bootLine(asked.String(), []string{device}, 7, boot.Clock{Time: 5, TSC: 6}))
		if strings.Contains(arg+env, "\x00") {
			return // the monitor or the guest refused it
		}
		if err != nil || !slices.Equal(got.Args, asked.Args) || !slices.Equal(got.Env, asked.Env) ||
			got.PID != 1 || got.CPUs != 2 || got.Clock != (boot.Clock{Time: 5, TSC: 6}) || !slices.Equal(got.Devices, []string{device}) {
			t.Errorf("%v: %+v of %+v", err, got, asked)
		}
	})
}
