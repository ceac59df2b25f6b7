// Package tap connects a guest's network device to a tap interface of the host
// (Linux, Documentation/networking/tuntap.rst), in place of the gateway. The
// interface receives what the guest sends, and the guest receives what the
// interface sends. The host has the addresses, routes and firewall.
//
// Packets have the virtio-net header, so large segments and partial checksums pass
// unchanged. The host's kernel checks the headers that the guest writes.
package tap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

const device = "/dev/net/tun"

// Interface is a tap interface that this process is attached to. It is a
// [link.Network].
type Interface struct {
	name    string
	file    *os.File
	raw     syscall.RawConn
	serving sync.Mutex
}

// Open attaches to the tap interface with the given name. Either the administrator
// has made it for this user, or Open makes it, if this process may do so. Close
// removes an interface that Open made.
func Open(name string) (*Interface, error) {
	t, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return t, nil
}

func open(name string) (_ *Interface, err error) {
	// In a name with %, the kernel would replace %d by a number.
	if name == "." || name == ".." || strings.ContainsAny(name, "/%: \t\n\x00") {
		return nil, errors.New("this is not a valid name for an interface")
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return nil, fmt.Errorf("an interface's name has 1 to %d bytes", unix.IFNAMSIZ-1)
	}
	// os.OpenFile would try to poll the file, which works only after the attach.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, explainDevice(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, explainAttach(name, err)
	}
	header := int32(boot.VirtioNetHeaderSize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETVNETHDRSZ, uintptr(unsafe.Pointer(&header))); errno != 0 {
		return nil, os.NewSyscallError("TUNSETVNETHDRSZ", errno)
	}
	if err := bringUp(name); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), device)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Interface{name: name, file: file, raw: raw}, nil
}

// explainDevice explains an error of opening /dev/net/tun.
func explainDevice(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("this host has no %s: sudo modprobe tun", device)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("this user may not open %s, which is usually open to all users: sudo chmod 666 %s", device, device)
	}
	return fmt.Errorf("open %s: %w", device, err)
}

// explainAttach explains an error of attaching to the interface.
func explainAttach(name string, err error) error {
	toMake := fmt.Sprintf("sudo ip tuntap add %s mode tap user $USER && sudo ip link set %s up", name, name)
	_, missing := net.InterfaceByName(name)
	switch {
	case errors.Is(err, unix.EPERM) && missing != nil:
		return fmt.Errorf("the host has no such interface, and only root may make it: %s", toMake)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it belongs to another user: sudo ip link del %s && %s", name, toMake)
	case errors.Is(err, unix.EBUSY):
		return errors.New("another program is attached to it")
	case errors.Is(err, unix.EINVAL):
		return errors.New("it is not a tap interface with one queue; make one with another name: sudo ip tuntap add NAME mode tap user $USER")
	}
	return fmt.Errorf("attach: %w", err)
}

// bringUp sets the interface up. A new interface is down.
func bringUp(name string) (err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	flags := ifr.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	ifr.SetUint16(flags | unix.IFF_UP)
	err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("it is down: sudo ip link set %s up", name)
	}
	return os.NewSyscallError("SIOCSIFFLAGS", err)
}

// Name returns the name of the interface.
func (t *Interface) Name() string { return t.name }

// MTU returns the MTU of the interface in bytes.
func (t *Interface) MTU() (int, error) {
	i, err := net.InterfaceByName(t.name)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", t.name, err)
	}
	return i.MTU, nil
}

// Tap implements [link.Network]: vhost-net can move the packets in place of
// Serve.
func (t *Interface) Tap() (*os.File, bool) { return t.file, true }

// Close detaches from the interface.
func (t *Interface) Close() error { return t.file.Close() }

// Accept implements [link.Network] by closing l. A guest with a tap interface has
// an address of its own, so it has no published ports.
func (t *Interface) Accept(l net.Listener, _ uint16) { _ = l.Close() }
