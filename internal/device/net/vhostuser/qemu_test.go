package vhostuser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/bench/linuxguest"
	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"

	"golang.org/x/sys/unix"
)

// linux is the paths of a kernel and of an initial RAM disk with testdata/guest.
type linux struct{ kernel, initrd string }

var buildLinux = sync.OnceValues(func() (linux, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	k, err := linuxguest.Fetch(ctx)
	if err != nil {
		return linux{}, err
	}
	dir, err := os.MkdirTemp("", "vhostuser-")
	if err != nil {
		return linux{}, err
	}
	linuxDir = dir
	program := filepath.Join(dir, "guest")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return linux{}, fmt.Errorf("%w\n%s", err, out)
	}
	disk, err := k.Networked(ctx, program)
	if err != nil {
		return linux{}, err
	}
	l := linux{k.Image, filepath.Join(dir, "initrd")}
	return l, os.WriteFile(l.initrd, disk, 0o644)
})

var linuxDir string // the directory that buildLinux made, or ""

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(linuxDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Linux has the driver that matters most. It runs on both machine types of QEMU and
// with subsets of the features.
func TestLinuxOnQEMU(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots Linux on an emulated processor")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no QEMU: apt-get install qemu-system-x86")
	}
	for _, test := range []struct {
		name    string
		machine string
		pairs   int // 0: frames in place of vhost-user
		mtu     int
		options string // of the device
	}{
		// Without vectors, so with an interrupt pin: see the package comment.
		{"q35", "q35", 1, 0, ",vectors=0"},
		{"microvm", "microvm", 1, 0, ""},
		{"two pairs", "microvm", 2, 0, ",mq=on"},
		{"buffers of one packet", "microvm", 1, 0, ",mrg_rxbuf=off"},
		{"small packets", "microvm", 1, 0, ",mrg_rxbuf=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"},
		{"no offload", "microvm", 1, 0, ",csum=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,gso=off"},
		{"no event index", "microvm", 1, 0, ",event_idx=off,indirect_desc=off"},
		{"frames, q35", "q35", 0, 1500, ""},
		{"large frames, q35", "q35", 0, 65535, ",host_mtu=65535"},
		{"large frames, microvm", "microvm", 0, 65535, ",host_mtu=65535"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := buildLinux()
			if err != nil {
				t.Skip("no Linux to boot:", err)
			}
			var n network
			if test.pairs > 0 {
				n = vhostUser(t, test.pairs)
			} else {
				n = frames(t, test.mtu)
			}
			ctx, url := bootLinux(t, l, test.machine, n, test.options)
			exchange(ctx, t, url)
		})
	}
}

// network connects a guest's card to a gateway.
type network struct {
	gateway gateway.Config
	link    link.Link
	args    []string     // of QEMU, without those of the device
	file    *os.File     // QEMU's descriptor 3
	close   func() error // called when QEMU has ended
}

func vhostUser(t *testing.T, pairs int) network {
	t.Helper()
	card, err := backend.New(pairs)
	if err != nil {
		t.Fatal(err)
	}
	server, err := vhostuser.Listen(card)
	if err != nil {
		t.Fatal(err)
	}
	netdev := "vhost-user,id=net,chardev=net"
	if pairs > 1 {
		netdev += fmt.Sprintf(",queues=%d", pairs)
	}
	return network{
		link:  card,
		args:  []string{"-chardev", "socket,id=net,path=/proc/self/fd/3", "-netdev", netdev},
		file:  server.File(),
		close: server.Close,
	}
}

// frames returns the network of link.NewFrames.
func frames(t *testing.T, mtu int) network {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.NewFrames(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "frames")
	return network{
		gateway: gateway.Config{MTU: mtu, Reach: policy.Options{HostLoopback: true}},
		link:    l,
		args:    []string{"-netdev", "dgram,id=net,local.type=fd,local.str=3"},
		file:    file,
		close:   file.Close,
	}
}

// bootLinux starts the guest and returns the URL of its server, and a context
// for as long as the guest runs.
func bootLinux(t *testing.T, l linux, machine string, n network, options string) (context.Context, string) {
	g, err := gateway.New(n.gateway)
	if err != nil {
		t.Fatal(err)
	}
	device := "virtio-net-pci,disable-legacy=on,romfile="
	args := []string{"-machine", machine + ",memory-backend=mem"}
	if machine == "microvm" {
		device = "virtio-net-device"
		args = append(args, "-global", "virtio-mmio.force-legacy=false")
	}
	clock, err := linuxguest.Clock()
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, n.args...)
	args = append(args, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "256M",
		"-object", "memory-backend-memfd,id=mem,size=256M,share=on",
		"-device", device+",netdev=net,mac="+g.Guest().MAC+",ctrl_guest_offloads=off"+options,
		"-kernel", l.kernel, "-initrd", l.initrd,
		"-append", "console=ttyS0 quiet panic=-1 "+clock+" "+linuxguest.Network(g.Guest()))
	qemu := exec.Command("qemu-system-x86_64", args...)
	var out bytes.Buffer
	qemu.Stdout, qemu.Stderr = &out, &out
	qemu.ExtraFiles = []*os.File{n.file}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served, ended := make(chan error, 1), make(chan struct{})
	go func() { served <- g.Serve(ctx, n.link) }()
	go func() {
		if err := qemu.Wait(); t.Context().Err() == nil {
			t.Errorf("QEMU ended: %v", err)
		}
		cancel()
		close(ended)
	}()
	addr, err := g.Publish("tcp", "127.0.0.1:0", 8080)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = qemu.Process.Kill() // it may have ended
		<-ended
		if err := errors.Join(n.close(), <-served, g.Close()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("guest:\n%s", out.Bytes())
		}
	})
	return ctx, "http://" + addr.String()
}

// exchange waits for the guest's server and moves data both ways.
func exchange(ctx context.Context, t *testing.T, url string) {
	client := &http.Client{Timeout: 60 * time.Second}
	defer client.CloseIdleConnections()
	began := time.Now()
	for {
		r, err := client.Get(url)
		if err == nil {
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "hello\n" {
				t.Fatalf("%q, %v", body, err)
			}
			_ = r.Body.Close()
			break
		}
		if time.Since(began) > time.Minute || ctx.Err() != nil {
			t.Fatal("the guest does not answer:", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("first answer after %v", time.Since(began).Round(time.Millisecond))

	const size = 64 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i / 64)
	}
	began = time.Now()
	r, err := client.Post(url+"/sink", "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r.Body)
	if err != nil || string(got) != strconv.Itoa(size) {
		t.Fatalf("the guest got %q, %v", got, err)
	}
	t.Logf("to the guest: %.0f MB/s", size/1e6/time.Since(began).Seconds())

	began = time.Now()
	r, err = client.Get(fmt.Sprintf("%s/source/%d", url, size))
	if err != nil {
		t.Fatal(err)
	}
	got, err = io.ReadAll(r.Body)
	if err != nil || len(got) != size {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if !bytes.Equal(got, data) {
		t.Fatal("the guest sent other data")
	}
	t.Logf("from the guest: %.0f MB/s", size/1e6/time.Since(began).Seconds())

	var all sync.WaitGroup
	errs := make(chan error, 16)
	for range 16 {
		all.Go(func() {
			for range 20 {
				r, err := http.Post(url+"/sink", "application/octet-stream", bytes.NewReader(data[:3000]))
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					_ = r.Body.Close()
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		t.Error(err)
	default:
	}
}
