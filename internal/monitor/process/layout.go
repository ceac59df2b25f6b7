package process

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/ninep"

	"golang.org/x/sys/unix"
)

// layout has the descriptors of a jail, and the monitor's ends of the jail's sockets.
type layout struct {
	jail  []int // index i becomes descriptor i in the jail
	owned []int // the descriptors in jail that this process has opened

	control, status *os.File
	link            int              // the network card's socket; -1: no card
	files           *folders.Server  // nil: no folders
	sockets         *hostinet.Server // nil: no host sockets
}

// newLayout makes the descriptors that libos/boot describes. The image and the jail's status
// socket follow them.
func newLayout(c *instance.Launch, id jail.Identity, image int) (l *layout, err error) {
	l = &layout{link: -1}
	defer func() {
		if err != nil {
			l.closeJail()
			l.closeMonitor()
		}
	}()
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f != nil {
			l.jail = append(l.jail, int(f.Fd()))
			continue
		}
		if err := l.open(os.DevNull, unix.O_RDWR); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
	}
	if l.control, err = l.socket("control", unix.SOCK_SEQPACKET); err != nil {
		return nil, err
	}
	if c.Network != nil {
		l.link, err = l.packets()
	} else {
		err = l.nothing()
	}
	if err != nil {
		return nil, err
	}
	if err := l.add(unix.EpollCreate1(unix.EPOLL_CLOEXEC)); err != nil {
		return nil, fmt.Errorf("epoll instance: %w", err)
	}
	if err := l.add(unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)); err != nil {
		return nil, fmt.Errorf("wake-up event: %w", err)
	}
	if err := l.open("/dev/urandom", unix.O_RDONLY); err != nil {
		return nil, err
	}
	if len(c.Folders) > 0 {
		l.files, err = l.folders(c.Folders)
	} else {
		err = l.nothing()
	}
	if err != nil {
		return nil, err
	}
	if c.Sockets != nil || len(c.Ports) > 0 {
		l.sockets, err = l.hostSockets(c, id)
	} else {
		err = l.nothing()
	}
	if err != nil {
		return nil, err
	}
	for _, p := range c.Ports {
		l.jail = append(l.jail, p.Socket)
	}
	l.jail = append(l.jail, image)
	l.status, err = l.socket("status", unix.SOCK_STREAM)
	return l, err
}

// add appends a descriptor that this process has opened for the jail.
func (l *layout) add(fd int, err error) error {
	if err != nil {
		return err
	}
	l.jail = append(l.jail, fd)
	l.owned = append(l.owned, fd)
	return nil
}

func (l *layout) open(path string, mode int) error {
	fd, err := unix.Open(path, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return l.add(fd, nil)
}

// nothing fills the place of a missing device. Otherwise the first connection would get its
// number.
func (l *layout) nothing() error { return l.open(os.DevNull, unix.O_RDONLY) }

// pair makes a pair of sockets. It adds one end and returns the other end.
func (l *layout) pair(name string, kind int) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s socket: %w", name, err)
	}
	l.jail = append(l.jail, pair[0])
	l.owned = append(l.owned, pair[0])
	return pair[1], nil
}

// socket makes a pair of sockets. It adds one end and returns the other end, which is
// non-blocking.
func (l *layout) socket(name string, kind int) (*os.File, error) {
	fd, err := l.pair(name, kind)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s socket: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// folders adds the socket to the folders' server and returns the server. The image's end is
// non-blocking.
func (l *layout) folders(list []instance.Folder) (*folders.Server, error) {
	fd, err := l.pair("files", unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	image := l.jail[len(l.jail)-1]
	if err := unix.SetNonblock(image, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("files socket: %w", err)
	}
	folders.GrowBuffer(image)
	var exports []ninep.Folder
	for i, m := range instance.Mounts(list) {
		exports = append(exports, ninep.Folder{Name: m.Tag, Path: list[i].Host, ReadOnly: m.ReadOnly})
	}
	return folders.New(fd, exports)
}

// hostSockets adds the socket to the server of host sockets and returns the server. Both ends
// block: each side waits for the other's next message in the kernel, not in a poller.
func (l *layout) hostSockets(c *instance.Launch, id jail.Identity) (*hostinet.Server, error) {
	fd, err := l.pair("sockets", unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	config := hostinet.Config{Log: c.Log, Target: func(netip.AddrPort) (hostinet.Target, error) {
		return hostinet.Target{}, unix.ENETUNREACH
	}}
	if c.Sockets != nil {
		config = *c.Sockets
	}
	config.Listen = c.Listen
	config.UID, config.GID = id.UID, id.GID
	return hostinet.New(fd, config), nil
}

// packets adds the network card's socket and returns the monitor's end. The link sets the
// buffer of that end. The image's end is non-blocking.
func (l *layout) packets() (int, error) {
	end, err := l.pair("packets", unix.SOCK_SEQPACKET)
	if err != nil {
		return -1, err
	}
	image := l.jail[len(l.jail)-1]
	if err := unix.SetNonblock(image, true); err != nil {
		return -1, errors.Join(fmt.Errorf("packets socket: %w", err), unix.Close(end))
	}
	folders.GrowBuffer(image)
	return end, nil
}

// closeJail closes the descriptors that this process has opened for the jail. The jail has its
// own copies.
func (l *layout) closeJail() {
	for _, fd := range l.owned {
		unix.Close(fd)
	}
	l.owned = nil
}

// closeMonitor closes the monitor's ends.
func (l *layout) closeMonitor() {
	for _, f := range []*os.File{l.control, l.status} {
		if f != nil {
			f.Close()
		}
	}
	if l.link >= 0 {
		unix.Close(l.link)
	}
	if l.files != nil {
		l.files.Close()
	}
	if l.sockets != nil {
		l.sockets.Close()
	}
}
