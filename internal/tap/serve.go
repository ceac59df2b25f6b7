package tap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many packets the link takes or gives at once.
	batch = 16
	// minFrame is a virtio-net header and an Ethernet header.
	minFrame = boot.VirtioNetHeaderSize + 14
)

// Serve implements monitor.Network: it moves packets between the interface and
// link until ctx is done or the guest closes the link, which is no error, and
// closes link. That the interface was deleted is one.
func (t *Interface) Serve(ctx context.Context, link gateway.Link) error {
	if !t.serving.TryLock() {
		return errors.Join(fmt.Errorf("interface %s: it serves a guest already", t.name), link.Close())
	}
	defer t.serving.Unlock()
	err := t.setOffload(link)
	if err == nil {
		err = t.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("interface %s: %w", t.name, err), link.Close())
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closing sync.Once
	var closeErr error
	end := func() {
		closing.Do(func() {
			closeErr = errors.Join(link.Close(), openStill(t.file.SetReadDeadline(time.Unix(1, 0))))
		})
	}
	defer context.AfterFunc(ctx, end)()

	failures := make(chan error, 2)
	go func() { failures <- t.receive(link) }()
	go func() { failures <- t.send(link) }()
	first := <-failures
	interrupted := ctx.Err() != nil
	end()
	<-failures
	if interrupted || errors.Is(first, io.EOF) {
		return closeErr
	}
	return fmt.Errorf("interface %s: %w", t.name, errors.Join(first, closeErr))
}

func openStill(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// setOffload has the host leave checksums and segmentation to the guest, unless
// the link carries neither.
func (t *Interface) setOffload(link gateway.Link) error {
	flags := unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	if plain, ok := link.(interface{ NoOffload() bool }); ok && plain.NoOffload() {
		flags = 0
	}
	var err error
	if controlErr := t.raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) }); controlErr != nil {
		return controlErr
	}
	return os.NewSyscallError("TUNSETOFFLOAD", err)
}

// packets are room for a batch of them, each in one piece.
func packets() []gateway.Packet {
	pkts := make([]gateway.Packet, batch)
	for i := range pkts {
		pkts[i] = gateway.Packet{make([]byte, boot.MaxFrame)}
	}
	return pkts
}

// receive passes to the guest what the interface sends.
func (t *Interface) receive(link gateway.Link) error {
	room, out := packets(), make([]gateway.Packet, batch)
	for i := range out {
		out[i] = make(gateway.Packet, 1)
	}
	var n int
	var errno syscall.Errno
	read := func(fd uintptr) bool {
		for n, errno = 0, 0; n < batch; {
			buf := room[n][0]
			size, e := transfer(unix.SYS_READ, fd, buf)
			if e != 0 {
				errno = e
				break
			}
			if size >= minFrame {
				out[n][0] = buf[:size]
				n++
			}
		}
		return n > 0 || errno != unix.EAGAIN
	}
	for {
		if err := t.raw.Read(read); err != nil {
			return err
		}
		if n == 0 {
			return gone(errno)
		}
		if err := link.WritePackets(out[:n]); err != nil {
			return err
		}
	}
}

// send passes to the interface what the guest sends. A packet that the host
// does not take is lost: it is not one, or the interface is down.
func (t *Interface) send(link gateway.Link) error {
	room, sizes := packets(), make([]int, batch)
	var frame []byte
	var errno syscall.Errno
	write := func(fd uintptr) bool {
		_, errno = transfer(unix.SYS_WRITE, fd, frame)
		return errno != unix.EAGAIN
	}
	for {
		n, err := link.ReadPackets(room, sizes)
		if err != nil {
			return err
		}
		for i := range n {
			if sizes[i] < minFrame {
				continue
			}
			frame = room[i][0][:sizes[i]]
			if err := t.raw.Write(write); err != nil {
				return err
			}
			switch errno {
			case unix.EBADFD, unix.EBADF, unix.ENODEV, unix.ENXIO:
				return gone(errno)
			}
		}
	}
}

// gone explains what a deleted interface gives: EBADFD.
func gone(errno syscall.Errno) error {
	if errno == unix.EBADFD {
		return errors.New("it was deleted")
	}
	return errno
}

// transfer reads or writes one packet.
func transfer(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := unix.Syscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}
