package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/monitor/qemu"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// vm is a running guest.
type vm struct {
	cmd     *exec.Cmd
	console console
	ended   chan struct{} // closed when QEMU has ended
	began   time.Time
	addr    string // where port 80 of a guest with a network is published
	release []func() error
}

// firstFD is QEMU's first descriptor after the standard ones.
const firstFD = 3

// start starts a guest. QEMU gets more as its descriptors from 3 on.
func (b *bench) start(g *guest, more ...*os.File) (_ *vm, err error) {
	m := &vm{ended: make(chan struct{}), console: console{changed: make(chan struct{}, 1)}}
	files := more
	pass := func(f *os.File) string {
		files = append(files, f)
		return fmt.Sprintf("/proc/self/fd/%d", firstFD+len(files)-1)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.end())
		}
	}()

	kernel, err := memoryFile(g.kernel)
	if err != nil {
		return nil, err
	}
	m.release = append(m.release, kernel.Close)
	var network *boot.Net
	args := []string{"-kernel", pass(kernel)}
	if g.disk != nil {
		disk, err := memoryFile(g.disk)
		if err != nil {
			return nil, err
		}
		m.release = append(m.release, disk.Close)
		args = append(args, "-initrd", pass(disk))
	}
	if g.network {
		net, card, err := m.plug(b.ctx)
		if err != nil {
			return nil, err
		}
		network = &net
		args = append(args, "-chardev", "socket,id=packets,path="+pass(card), "-netdev", "vhost-user,id=net,chardev=packets",
			"-device", "virtio-net-device,netdev=net,mac="+net.MAC+",ctrl_guest_offloads=off")
	}
	args = append(args, "-append", g.line(network))
	m.cmd = exec.CommandContext(b.ctx, qemu.Program, append(append(hardware(g.memory), args...), g.args...)...)
	m.cmd.ExtraFiles = files
	m.cmd.Stdout, m.cmd.Stderr = &m.console, &m.console
	m.began = time.Now()
	if err := m.cmd.Start(); err != nil {
		m.cmd = nil
		return nil, err
	}
	go func() {
		// The way it ended does not matter here.
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	return m, nil
}

// hardware returns the virtual machine that both contestants get, with memory in MB.
func hardware(memory int) []string {
	size := fmt.Sprintf("%dM", memory)
	return []string{
		"-machine", "microvm,memory-backend=memory", "-accel", accel(), "-cpu", "max", "-smp", "1", "-m", size,
		"-object", "memory-backend-memfd,id=memory,share=on,size=" + size,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-global", "virtio-mmio.force-legacy=false",
		"-serial", "stdio", "-device", "virtio-rng-device",
	}
}

// plug connects the machine's network card to a gateway of this process, as
// pith run does.
func (m *vm) plug(ctx context.Context) (net boot.Net, socket *os.File, err error) {
	g, err := gateway.New(gateway.Config{Reach: policy.Options{HostLoopback: true}})
	if err != nil {
		return net, nil, err
	}
	m.release = append(m.release, g.Close)
	card, err := backend.New(1)
	if err != nil {
		return net, nil, err
	}
	front, err := vhostuser.Listen(card)
	if err != nil {
		return net, nil, err
	}
	addr, err := g.Publish("tcp", "127.0.0.1:0", 80)
	if err != nil {
		return net, nil, errors.Join(err, front.Close())
	}
	m.addr = addr.String()
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx, card) }()
	m.release = append(m.release, func() error {
		cancel()
		return errors.Join(front.Close(), <-served)
	})
	return g.Guest(), front.File(), nil
}

// end ends the virtual machine if it still runs, and releases all that it had.
func (m *vm) end() error {
	var errs []error
	if m.cmd != nil {
		if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		<-m.ended
	}
	for n := len(m.release) - 1; n >= 0; n-- {
		errs = append(errs, m.release[n]())
	}
	return errors.Join(errs...)
}

// await waits until found reports true for the text of the console.
func (m *vm) await(timeout time.Duration, found func(text []byte) bool) error {
	late := time.After(timeout)
	for ended := false; ; {
		if found(m.console.bytes()) {
			return nil
		}
		if ended {
			return fmt.Errorf("the virtual machine has ended; its console:\n%s", m.console.bytes())
		}
		select {
		case <-m.console.changed:
		case <-m.ended:
			ended = true
		case <-late:
			return fmt.Errorf("nothing within %v; the console:\n%s", timeout, m.console.bytes())
		}
	}
}

// console is the output of a virtual machine and of QEMU.
type console struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // has an element when there is more text
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.text = append(c.text, p...)
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *console) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.text)
}

// memoryFile returns a memory file with this content.
func memoryFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "bench")
	if _, err := f.Write(content); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
