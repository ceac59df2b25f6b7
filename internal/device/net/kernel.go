package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// ioctl(2) requests of /dev/vhost-net (linux/vhost.h).
const (
	vhostGetFeatures   = 0x8008af00
	vhostSetFeatures   = 0x4008af00
	vhostSetOwner      = 0x0000af01
	vhostSetMemTable   = 0x4008af03
	vhostSetVringNum   = 0x4008af10
	vhostSetVringAddr  = 0x4028af11
	vhostSetVringBase  = 0x4008af12
	vhostSetVringKick  = 0x4008af20
	vhostSetVringCall  = 0x4008af21
	vhostNetSetBackend = 0x4008af30
)

// vringState is struct vhost_vring_state.
type vringState struct{ index, num uint32 }

// vringFile is struct vhost_vring_file. Descriptor -1 is none.
type vringFile struct {
	index uint32
	fd    int32
}

// vringAddr is struct vhost_vring_addr, with virtual addresses of this process.
type vringAddr struct {
	index, flags                  uint32
	desc, device, driver, logging uint64
}

// NewKernel returns a card whose packets the host's kernel moves between one
// pair of queues and a tap interface. vhostNet is an open /dev/vhost-net. tap is
// the open interface, with virtio-net headers (IFF_VNET_HDR). The card owns both
// files, also if NewKernel fails. mem must be mapped in the calling process. If
// the interface is deleted, the device fails.
//
// The code follows linux/vhost.h and has not run yet, because no host with
// /dev/vhost-net was at hand. Its tests cover what needs none.
func NewKernel(vhostNet, tap *os.File, mem *virtqueue.Memory, card Config) (*Device, error) {
	k := &kernel{vhost: vhostNet, tap: tap, mem: mem, down: make(chan struct{}), watched: make(chan struct{})}
	err := card.check()
	if err == nil && card.Pairs != 1 {
		err = fmt.Errorf("%d pairs of queues: the host's kernel has one", card.Pairs)
	}
	if err == nil {
		err = k.begin()
	}
	var d *Device
	if err == nil {
		d, err = newDevice(mem, k, card)
	}
	if err == nil {
		k.stopping, err = event.New()
	}
	if err != nil {
		return nil, fmt.Errorf("network card: %w", errors.Join(err, vhostNet.Close(), tap.Close()))
	}
	go k.watch()
	return d, nil
}

// kernel is the dataPath through vhost-net.
type kernel struct {
	vhost, tap *os.File
	mem        *virtqueue.Memory
	offered    uint64 // by vhost-net

	down     chan struct{} // closed when the interface is gone
	stopping *event.Event
	watched  chan struct{} // closed when watch has returned
	closing  sync.Once
}

// begin sets the size of the interface's header and gives vhost-net the guest's
// memory.
func (k *kernel) begin() error {
	size := int32(boot.VirtioNetHeaderSize)
	if err := ioctl(k.tap, unix.TUNSETVNETHDRSZ, unsafe.Pointer(&size)); err != nil {
		return fmt.Errorf("interface's header of %d bytes (TUNSETVNETHDRSZ): %w", size, err)
	}
	if err := ioctl(k.vhost, vhostSetOwner, nil); err != nil {
		return fmt.Errorf("vhost-net: VHOST_SET_OWNER: %w", err)
	}
	if err := ioctl(k.vhost, vhostGetFeatures, unsafe.Pointer(&k.offered)); err != nil {
		return fmt.Errorf("vhost-net: VHOST_GET_FEATURES: %w", err)
	}
	table := memoryTable(k.mem)
	if err := ioctl(k.vhost, vhostSetMemTable, unsafe.Pointer(&table[0])); err != nil {
		return fmt.Errorf("vhost-net: VHOST_SET_MEM_TABLE: %w", err)
	}
	return nil
}

// memoryTable returns struct vhost_memory: nregions u32, padding u32, and for each
// region its guest-physical address, size, address in this process and flags,
// each u64.
func memoryTable(mem *virtqueue.Memory) []byte {
	ne := binary.NativeEndian
	regions := mem.Regions()
	b := ne.AppendUint32(ne.AppendUint32(nil, uint32(len(regions))), 0)
	for _, r := range regions {
		b = ne.AppendUint64(b, r.Addr)
		b = ne.AppendUint64(b, uint64(len(r.Mem)))
		b = ne.AppendUint64(b, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem)))))
		b = ne.AppendUint64(b, 0)
	}
	return b
}

// features implements dataPath. The interface does the offloads, so vhost-net
// need not offer them.
func (k *kernel) features() uint64 { return k.offered | feature.Offload }

func (k *kernel) start(features uint64, queues []device.Queue) error {
	// Unlike the others, this request takes its argument by value (linux/if_tun.h).
	if err := ioctlInt(k.tap, unix.TUNSETOFFLOAD, offloads(features)); err != nil {
		return fmt.Errorf("interface's offloads (TUNSETOFFLOAD): %w", err)
	}
	accepted := features & k.offered &^ feature.Offload
	if err := ioctl(k.vhost, vhostSetFeatures, unsafe.Pointer(&accepted)); err != nil {
		return fmt.Errorf("vhost-net: VHOST_SET_FEATURES %#x: %w", accepted, err)
	}
	for i := range queues {
		if err := k.setQueue(uint32(i), &queues[i]); err != nil {
			return fmt.Errorf("vhost-net: queue %d: %w", i, err)
		}
	}
	for i := range queues {
		if err := k.attach(uint32(i), descriptorOf(k.tap)); err != nil {
			return fmt.Errorf("vhost-net: queue %d: VHOST_NET_SET_BACKEND: %w", i, err)
		}
	}
	return nil
}

// offloads returns the interface's flags for the packets that the driver accepts.
// Large segments need partial checksums.
func offloads(features uint64) int {
	if features&feature.GuestCsum == 0 {
		return 0
	}
	flags := unix.TUN_F_CSUM
	if features&feature.GuestTSO4 != 0 {
		flags |= unix.TUN_F_TSO4
	}
	if features&feature.GuestTSO6 != 0 {
		flags |= unix.TUN_F_TSO6
	}
	return flags
}

func (k *kernel) setQueue(i uint32, q *device.Queue) error {
	size, base := vringState{i, uint32(q.Size)}, vringState{i, 0}
	kick, call := vringFile{i, int32(q.Kick.FD())}, vringFile{i, int32(q.Call.FD())}
	addr := vringAddr{index: i, desc: k.address(q.Desc), device: k.address(q.Device), driver: k.address(q.Driver)}
	for _, step := range []struct {
		name    string
		request uint
		arg     unsafe.Pointer
	}{
		{"VHOST_SET_VRING_NUM", vhostSetVringNum, unsafe.Pointer(&size)},
		{"VHOST_SET_VRING_BASE", vhostSetVringBase, unsafe.Pointer(&base)},
		{"VHOST_SET_VRING_ADDR", vhostSetVringAddr, unsafe.Pointer(&addr)},
		{"VHOST_SET_VRING_KICK", vhostSetVringKick, unsafe.Pointer(&kick)},
		{"VHOST_SET_VRING_CALL", vhostSetVringCall, unsafe.Pointer(&call)},
	} {
		if err := ioctl(k.vhost, step.request, step.arg); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// address returns the address in this process of a guest-physical address. Start
// has checked that all queues lie in guest memory.
func (k *kernel) address(guest uint64) uint64 {
	b, _ := k.mem.Slice(guest, 1)
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// attach connects queue i to the tap interface with descriptor fd. A descriptor
// of -1 stops the queue.
func (k *kernel) attach(i uint32, fd int) error {
	f := vringFile{i, int32(fd)}
	return ioctl(k.vhost, vhostNetSetBackend, unsafe.Pointer(&f))
}

// enable implements dataPath. A card of one pair never calls it.
func (k *kernel) enable(int, bool) error { return errors.ErrUnsupported }

func (k *kernel) stop() {
	for i := range uint32(2) {
		// It fails for a queue that was never attached.
		_ = k.attach(i, -1)
	}
}

func (k *kernel) gone() <-chan struct{} { return k.down }

func (k *kernel) err() error { return errors.New("the host's network interface is gone") }

func (k *kernel) descriptor() int { return -1 }

// watch waits until the interface is deleted, which vhost-net does not report. It
// polls for no event, so packets do not wake it. The runtime's poller would wake
// for each packet.
func (k *kernel) watch() {
	defer close(k.watched)
	fds := []unix.PollFd{{Fd: int32(descriptorOf(k.tap))}, {Fd: int32(k.stopping.FD()), Events: unix.POLLIN}}
	for {
		_, err := unix.Ppoll(fds, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || fds[0].Revents != 0:
			close(k.down)
			return
		case fds[1].Revents != 0:
			return
		}
	}
}

func (k *kernel) close() {
	k.closing.Do(func() {
		k.stopping.Signal()
		<-k.watched
		k.stopping.Close()
		_ = k.vhost.Close() // nothing is lost
		_ = k.tap.Close()
	})
}

// descriptorOf returns the descriptor of f, or -1 if f is closed. Unlike
// os.File.Fd, it leaves f non-blocking.
func descriptorOf(f *os.File) int {
	fd := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(descriptorOf(f)), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func ioctlInt(f *os.File, request uint, arg int) error {
	return unix.IoctlSetInt(descriptorOf(f), request, arg)
}
