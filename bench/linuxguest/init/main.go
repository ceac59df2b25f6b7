// Command init is the first process of a Linux guest of package linuxguest. It
// loads the drivers, brings the network up and then becomes /program.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}

func run() error {
	for dir, fs := range map[string]string{"/proc": "proc", "/dev": "devtmpfs"} {
		if err := unix.Mount(fs, dir, fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if err := setNetwork(strings.Fields(string(line))); err != nil {
		return err
	}
	fmt.Println("the network is up")                     // linuxguest.Up
	args := append([]string{"/program"}, os.Args[1:]...) // what follows -- on the command line
	return fmt.Errorf("start /program: %w", unix.Exec("/program", args, os.Environ()))
}

// loadModules loads the modules in /modules in the order of their names. It leaves
// out those for a bus that the guest does not have.
func loadModules() error {
	absent := "virtio_mmio"
	if devices, err := os.ReadFile("/proc/bus/pci/devices"); err != nil || len(devices) == 0 {
		absent = "virtio_pci"
	}
	files, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, name := range files {
		if strings.Contains(name, absent) {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

const card = "eth0"

// setNetwork brings the loopback interface and the card up. The fields are those of
// the kernel's command line.
func setNetwork(fields []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := up(fd, "lo"); err != nil {
		return err
	}
	var resolv strings.Builder
	for _, w := range fields {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "linuxguest.address":
			p, err := netip.ParsePrefix(value)
			if err != nil {
				return err
			}
			if err := setAddress(fd, p); err != nil {
				return err
			}
		case "linuxguest.gateway":
			a, err := netip.ParseAddr(value)
			if err != nil {
				return err
			}
			if err := setGateway(fd, a); err != nil {
				return err
			}
		case "linuxguest.dns":
			fmt.Fprintln(&resolv, "nameserver", value)
		}
	}
	return os.WriteFile("/etc/resolv.conf", []byte(resolv.String()), 0o644)
}

func up(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func setAddress(fd int, p netip.Prefix) error {
	mask := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), p.Bits()).Masked().Addr()
	for _, set := range []struct {
		request uint
		addr    netip.Addr
	}{{unix.SIOCSIFADDR, p.Addr()}, {unix.SIOCSIFNETMASK, mask}} {
		r, err := unix.NewIfreq(card)
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(set.addr.AsSlice()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.request, r); err != nil {
			return fmt.Errorf("address of %s: %w", card, err)
		}
	}
	return up(fd, card)
}

// setGateway adds the default route (struct rtentry of route(7)).
func setGateway(fd int, gateway netip.Addr) error {
	rt := struct {
		_                 uint64
		dst, gateway, msk unix.RawSockaddrInet4
		flags             uint16
		_                 [62]byte
	}{
		dst:     unix.RawSockaddrInet4{Family: unix.AF_INET},
		gateway: unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: gateway.As4()},
		msk:     unix.RawSockaddrInet4{Family: unix.AF_INET},
		flags:   unix.RTF_UP | unix.RTF_GATEWAY,
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&rt))); e != 0 {
		return fmt.Errorf("default route: %w", e)
	}
	return nil
}
