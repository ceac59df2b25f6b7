//go:build !pith

// Package qemutest connects drivers to QEMU's own devices, in a test on the
// host. It runs a microvm whose CPU is halted. The test accesses the registers
// through QEMU's test protocol, and shares the VM's memory.
package qemutest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"

	"golang.org/x/sys/unix"
)

const (
	memory   = 256 << 20
	dmaStart = 1 << 20

	// Addresses of microvm's devices (hw/i386/microvm.c).
	deviceBase, deviceStep, devices = 0xfeb00000, 0x200, 24
	firstPin                        = 24

	deviceID        = 0x08 // MMIO registers (virtio 1.2 §4.2.2)
	interruptStatus = 0x60
)

// Machine is a QEMU process. Only one runs at a time.
type Machine struct {
	t    testing.TB
	mu   sync.Mutex // guards the protocol
	conn net.Conn
	r    *bufio.Reader

	dmaMu sync.Mutex
	ram   []byte
	next  int // offset in ram of the first byte that dma has not allocated
}

// Start starts QEMU with args until the end of the test. It skips the test if
// QEMU is not installed.
func Start(t testing.TB, args ...string) *Machine {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("qemu-system-x86_64 is not installed")
	}
	m := &Machine{t: t, next: dmaStart}
	dir := t.TempDir()
	socket := filepath.Join(dir, "qtest")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ram := fmt.Sprintf("memory-backend-file,id=ram,size=%d,share=on,mem-path=%s", memory, m.share())
	cmd := exec.Command(qemu, append([]string{
		"-M", "microvm,memory-backend=ram", "-m", "256M", "-object", ram,
		"-accel", "tcg", "-bios", m.halt(dir), "-qtest", "unix:" + socket, "-qtest-log", "none",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-global", "virtio-mmio.force-legacy=false",
	}, args...)...)
	var errors strings.Builder
	cmd.Stderr = &errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		cmd.Wait()
		close(ended)
		l.Close()
	}()
	if m.conn, err = l.Accept(); err != nil {
		<-ended
		t.Fatalf("QEMU ended: %s", errors.String())
	}
	m.r = bufio.NewReader(m.conn)

	old := platform.HostedDMA
	platform.HostedDMA = m.dma
	stop := make(chan bool)
	polled := make(chan bool)
	go func() {
		defer close(polled)
		m.poll(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-polled
		platform.HostedDMA = old
		cmd.Process.Kill()
		<-ended
		m.conn.Close()
		// The memory stays mapped, because goroutines of drivers may still access it.
	})
	return m
}

// share makes the VM's memory, a sealed file as vhost-user back ends require,
// and returns its path.
func (m *Machine) share() string {
	m.t.Helper()
	fd, err := unix.MemfdCreate("ram", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, memory); err != nil {
		m.t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		m.t.Fatal(err)
	}
	m.ram, err = unix.Mmap(fd, 0, memory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
}

// halt makes a firmware that halts the CPU forever. Debian's QEMU lacks the
// accelerator that runs no code.
func (m *Machine) halt(dir string) string {
	m.t.Helper()
	const hlt = 0xf4 // interrupts are off after a reset
	path := filepath.Join(dir, "firmware")
	if err := os.WriteFile(path, bytes.Repeat([]byte{hlt}, 64<<10), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *Machine) dma(n int) ([]byte, uint64, linux.Errno) {
	m.dmaMu.Lock()
	defer m.dmaMu.Unlock()
	size := (n + platform.PageSize - 1) &^ (platform.PageSize - 1)
	if size > len(m.ram)-m.next {
		return nil, 0, linux.ENOMEM
	}
	phys := m.next
	m.next += size
	return m.ram[phys:][:n:n], uint64(phys), 0
}

// Device returns the VM's device with that device ID.
func (m *Machine) Device(id uint32) virtio.Transport {
	m.t.Helper()
	found := virtio.HostedMicrovm(func(addr uint64, _ int) (virtio.HostedRegisters, linux.Errno) {
		return &registers{m, addr}, 0
	})
	for _, t := range found {
		if t.DeviceID() == id {
			return t
		}
	}
	m.t.Fatalf("QEMU has no device %d", id)
	return nil
}

// command sends a line of the protocol (QEMU, softmmu/qtest.c) and returns the
// value in the reply.
func (m *Machine) command(format string, args ...any) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := fmt.Fprintf(m.conn, format+"\n", args...); err != nil {
		return 0, err
	}
	line, err := m.r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	value, ok := strings.CutPrefix(strings.TrimSpace(line), "OK")
	if !ok {
		return 0, fmt.Errorf("qtest: %s: %s", fmt.Sprintf(format, args...), line)
	}
	if value == "" {
		return 0, nil
	}
	return strconv.ParseUint(strings.TrimSpace(value), 0, 64)
}

// registers are the registers of a device. At the end of the test, QEMU ends
// before the drivers' goroutines, which then read all ones, as from an empty
// bus.
type registers struct {
	m    *Machine
	base uint64
}

func letter(width int) string { return map[int]string{1: "b", 2: "w", 4: "l"}[width] }

func (r *registers) Read(off, width int) uint32 {
	v, err := r.m.command("read%s %#x", letter(width), r.base+uint64(off))
	if err != nil {
		return 0xffffffff
	}
	return uint32(v)
}

func (r *registers) Write(off, width int, v uint32) {
	r.m.command("write%s %#x %#x", letter(width), r.base+uint64(off), v)
}

// poll raises the pins of devices that have a pending interrupt.
func (m *Machine) poll(stop chan bool) {
	const pause = 200 * time.Microsecond
	for {
		for i := range devices {
			r := registers{m, deviceBase + uint64(i)*deviceStep}
			if r.Read(deviceID, 4) != 0 && r.Read(interruptStatus, 4)&3 != 0 {
				platform.HostedPin(uint32(firstPin + i))
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
	}
}
