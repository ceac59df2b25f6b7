// Package tap plugs a guest's network device into an interface of the host's
// (Linux, Documentation/networking/tuntap.rst), in place of the gateway: what
// the guest sends is received by the interface, and what is sent by the
// interface the guest receives. Addresses, routes and firewall are the host's.
//
// Packets carry the virtio-net header, so that large segments and partial
// checksums pass as they are. The host's kernel checks what the guest claims of
// them.
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

// Open attaches to the interface of that name: one that the administrator made
// for this user, or a new one that goes with Close, if this process may make it.
func Open(name string) (*Interface, error) {
	t, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return t, nil
}

func open(name string) (_ *Interface, err error) {
	// The kernel would make a template of %.
	if name == "." || name == ".." || strings.ContainsAny(name, "/%: \t\n\x00") {
		return nil, errors.New("this is no interface's name")
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return nil, fmt.Errorf("an interface's name has 1 to %d bytes", unix.IFNAMSIZ-1)
	}
	// Not by package os: before it is attached it cannot be polled.
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

func explainDevice(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("this host has no %s; sudo modprobe tun makes it", device)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("this user may not open %s; it usually is everybody's: sudo chmod 666 %s", device, device)
	}
	return fmt.Errorf("open %s: %w", device, err)
}

func explainAttach(name string, err error) error {
	toMake := fmt.Sprintf("sudo ip tuntap add %s mode tap user $USER && sudo ip link set %s up", name, name)
	_, missing := net.InterfaceByName(name)
	switch {
	case errors.Is(err, unix.EPERM) && missing != nil:
		return fmt.Errorf("there is none, and only root may make it: %s", toMake)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it is not this user's: sudo ip link del %s && %s", name, toMake)
	case errors.Is(err, unix.EBUSY):
		return errors.New("another program is attached to it")
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("it is not a tap interface with one queue; one of another name is made by ip tuntap add NAME mode tap user $USER")
	}
	return fmt.Errorf("attach: %w", err)
}

// bringUp sets the interface up, which one that was just made is not.
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

// Name is the interface's name.
func (t *Interface) Name() string { return t.name }

// MTU is the interface's.
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
