package net

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

func TestRequestNumbersMatchTheKernelHeader(t *testing.T) {
	const ( // linux/ioctl.h
		none  = 0
		write = 1
		read  = 2
	)
	const (
		u64    = 8
		memory = 8 // struct vhost_memory, without its regions
		state  = unsafe.Sizeof(vringState{})
		file   = unsafe.Sizeof(vringFile{})
		addr   = unsafe.Sizeof(vringAddr{})
	)
	for _, c := range []struct {
		name      string
		got       uint
		direction uint
		number    uint
		size      uintptr
	}{
		{"VHOST_GET_FEATURES", vhostGetFeatures, read, 0x00, u64},
		{"VHOST_SET_FEATURES", vhostSetFeatures, write, 0x00, u64},
		{"VHOST_SET_OWNER", vhostSetOwner, none, 0x01, 0},
		{"VHOST_SET_MEM_TABLE", vhostSetMemTable, write, 0x03, memory},
		{"VHOST_SET_VRING_NUM", vhostSetVringNum, write, 0x10, state},
		{"VHOST_SET_VRING_ADDR", vhostSetVringAddr, write, 0x11, addr},
		{"VHOST_SET_VRING_BASE", vhostSetVringBase, write, 0x12, state},
		{"VHOST_SET_VRING_KICK", vhostSetVringKick, write, 0x20, file},
		{"VHOST_SET_VRING_CALL", vhostSetVringCall, write, 0x21, file},
		{"VHOST_NET_SET_BACKEND", vhostNetSetBackend, write, 0x30, file},
	} {
		if want := c.direction<<30 | uint(c.size)<<16 | 0xaf<<8 | c.number; c.got != want {
			t.Errorf("%s is %#x, not %#x", c.name, c.got, want)
		}
	}
	var a vringAddr
	if unsafe.Offsetof(a.desc) != 8 || unsafe.Offsetof(a.device) != 16 || unsafe.Offsetof(a.driver) != 24 {
		t.Error("the order of struct vhost_vring_addr is descriptors, used ring, available ring")
	}
}

func TestKernelGetsAddressesOfThisProcess(t *testing.T) {
	low, high := make([]byte, 4096), make([]byte, 8192)
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 4 << 30, Mem: high}, {Addr: 0, Mem: low}})
	if err != nil {
		t.Fatal(err)
	}
	here := func(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }
	var want []byte
	want = binary.NativeEndian.AppendUint32(want, 2)
	want = binary.NativeEndian.AppendUint32(want, 0)
	for _, n := range []uint64{0, 4096, here(low), 0, 4 << 30, 8192, here(high), 0} {
		want = binary.NativeEndian.AppendUint64(want, n)
	}
	if got := memoryTable(mem); string(got) != string(want) {
		t.Errorf("the table is % x, not % x", got, want)
	}
	k := &kernel{mem: mem}
	if got := k.address(4<<30 + 100); got != here(high)+100 {
		t.Errorf("%#x, not %#x", got, here(high)+100)
	}
}

func TestInterfaceOffloadsWhatTheDriverAccepts(t *testing.T) {
	for _, c := range []struct {
		features uint64
		want     int
	}{
		{0, 0},
		{feature.GuestTSO4 | feature.GuestTSO6, 0},
		{feature.GuestCsum, unix.TUN_F_CSUM},
		{feature.GuestCsum | feature.GuestTSO4, unix.TUN_F_CSUM | unix.TUN_F_TSO4},
		{feature.Offload, unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6},
	} {
		if got := offloads(c.features); got != c.want {
			t.Errorf("%#x: %#x, not %#x", c.features, got, c.want)
		}
	}
}

func TestNewKernelRefusesOtherFiles(t *testing.T) {
	m := newMachine(t, 0, 0)
	for _, pairs := range []int{1, 2} {
		var null [2]*os.File
		for i := range null {
			var err error
			if null[i], err = os.Open(os.DevNull); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := NewKernel(null[0], null[1], m.mem, Config{Pairs: pairs}); err == nil || !strings.HasPrefix(err.Error(), "network card: ") {
			t.Errorf("%d pairs: %v", pairs, err)
		}
		for _, f := range null {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%d pairs: a file stays open: %v", pairs, err)
			}
		}
	}
}

func TestKernelCardFailsWhenItsInterfaceIsDeleted(t *testing.T) {
	for _, hangsUp := range []bool{true, false} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "interface"), os.NewFile(uintptr(fds[1]), "host")
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		stopping, err := event.New()
		if err != nil {
			t.Fatal(err)
		}
		k := &kernel{vhost: null, tap: ours, down: make(chan struct{}), watched: make(chan struct{}), stopping: stopping}
		go k.watch()
		if _, err := theirs.Write([]byte("a packet")); err != nil { // vhost-net would read it
			t.Fatal(err)
		}
		if hangsUp {
			if err := theirs.Close(); err != nil {
				t.Fatal(err)
			}
			<-k.gone()
		}
		k.close()
		select {
		case <-k.gone():
			if !hangsUp {
				t.Error("the interface is gone because the card was closed")
			}
		default:
		}
		_ = theirs.Close() // it may be closed
	}
}
