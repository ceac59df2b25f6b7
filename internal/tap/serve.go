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

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// minFrame is the size in bytes of a virtio-net header and an Ethernet header.
const minFrame = boot.VirtioNetHeaderSize + 14

// Serve implements [link.Network]: it moves packets between the interface and l
// until ctx is done or the guest closes the link. It fails if the interface is
// deleted. It closes l in any case.
func (t *Interface) Serve(ctx context.Context, l link.Link) error {
	if !t.serving.TryLock() {
		return errors.Join(fmt.Errorf("interface %s: it serves another guest", t.name), l.Close())
	}
	defer t.serving.Unlock()
	err := t.setOffload(l.Offload())
	if err == nil {
		err = t.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("interface %s: %w", t.name, err), l.Close())
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closing sync.Once
	var closeErr error
	end := func() {
		closing.Do(func() {
			closeErr = errors.Join(l.Close(), openStill(t.file.SetReadDeadline(time.Unix(1, 0))))
		})
	}
	defer context.AfterFunc(ctx, end)()

	failures := make(chan error, 2)
	go func() { failures <- t.receive(l) }()
	go func() { failures <- t.send(l) }()
	first := <-failures
	interrupted := ctx.Err() != nil
	end()
	<-failures
	if interrupted || errors.Is(first, io.EOF) {
		return closeErr
	}
	return fmt.Errorf("interface %s: %w", t.name, errors.Join(first, closeErr))
}

// openStill returns err, or nil if err says that the file is closed.
func openStill(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// setOffload sets whether the interface sends packets with partial checksums and
// large TCP segments.
func (t *Interface) setOffload(on bool) error {
	flags := 0
	if on {
		flags = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	}
	var err error
	if controlErr := t.raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) }); controlErr != nil {
		return controlErr
	}
	return os.NewSyscallError("TUNSETOFFLOAD", err)
}

// packets returns room for link.Batch packets, each in one piece.
func packets() []link.Packet {
	pkts := make([]link.Packet, link.Batch)
	for i := range pkts {
		pkts[i] = link.Packet{make([]byte, boot.MaxFrame)}
	}
	return pkts
}

// receive moves packets from the interface to the guest.
func (t *Interface) receive(l link.Link) error {
	room, out := packets(), make([]link.Packet, link.Batch)
	for i := range out {
		out[i] = make(link.Packet, 1)
	}
	var n int
	var errno syscall.Errno
	read := func(fd uintptr) bool {
		for n, errno = 0, 0; n < link.Batch; {
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
		if err := l.WritePackets(out[:n]); err != nil {
			return err
		}
	}
}

// send moves packets from the guest to the interface. A packet that the host
// refuses is lost: it is malformed, or the interface is down.
func (t *Interface) send(l link.Link) error {
	room, sizes := packets(), make([]int, link.Batch)
	var frame []byte
	var errno syscall.Errno
	write := func(fd uintptr) bool {
		_, errno = transfer(unix.SYS_WRITE, fd, frame)
		return errno != unix.EAGAIN
	}
	for {
		n, err := l.ReadPackets(room, sizes)
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

// gone explains EBADFD, the error of an interface that was deleted.
func gone(errno syscall.Errno) error {
	if errno == unix.EBADFD {
		return errors.New("it was deleted")
	}
	return errno
}

// transfer calls read(2) or write(2) for one packet.
func transfer(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := unix.Syscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}
