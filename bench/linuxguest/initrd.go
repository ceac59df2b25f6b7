package linuxguest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pith-os/pith/libos/boot"
)

// initPackage is the program that brings up the network and then becomes the
// program under test.
const initPackage = "github.com/pith-os/pith/bench/linuxguest/init"

// Bare returns an initial RAM disk whose first and only process is program, a
// statically linked executable.
func Bare(program string) ([]byte, error) {
	var a archive
	if err := a.copy("init", program); err != nil {
		return nil, err
	}
	return a.close(), nil
}

// Networked returns an initial RAM disk for a guest with a virtio network card. The
// first process loads the card's drivers, configures it as [Network] says, and then
// becomes program.
func (k *Kernel) Networked(ctx context.Context, program string) (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "linuxguest-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil {
			err = removeErr
		}
	}()
	first := filepath.Join(dir, "init")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", first, initPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest's first process: %w\n%s", err, out)
	}
	var a archive
	for _, d := range []string{"dev", "proc", "etc", "modules"} {
		a.folder(d)
	}
	for i, m := range modules {
		if err := a.copy(fmt.Sprintf("modules/%02d-%s", i, m), filepath.Join(k.dir, m)); err != nil {
			return nil, err
		}
	}
	if err := a.copy("init", first); err != nil {
		return nil, err
	}
	if err := a.copy("program", program); err != nil {
		return nil, err
	}
	return a.close(), nil
}

// Up is the line that the guest's first process prints when the network is up,
// just before it becomes the program.
const Up = "the network is up"

// Network returns n's IPv4 part as fields of the kernel's command line.
func Network(n boot.Net) string {
	fields := []string{"linuxguest.address=" + n.Addr4, "linuxguest.gateway=" + n.Gateway4}
	for _, d := range n.DNS {
		fields = append(fields, "linuxguest.dns="+d)
	}
	return strings.Join(fields, " ")
}

// archive is a file of the "newc" format of cpio(5).
type archive struct {
	b     []byte
	files int
}

func (a *archive) folder(name string) { a.add(name, 0o040755, nil) }

// copy adds the file from of the host as an executable.
func (a *archive) copy(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	a.add(name, 0o100755, data)
	return nil
}

func (a *archive) add(name string, mode int, data []byte) {
	a.files++
	a.b = append(a.b, "070701"...)
	for _, v := range []int{
		a.files, mode, 0, 0, 1, 0, len(data), // inode, mode, user, group, links, time, size
		0, 0, 0, 0, len(name) + 1, 0, // devices, name's size, check
	} {
		a.b = fmt.Appendf(a.b, "%08x", v)
	}
	a.b = append(a.b, name...)
	a.b = append(a.b, 0)
	a.pad()
	a.b = append(a.b, data...)
	a.pad()
}

func (a *archive) pad() {
	for len(a.b)%4 != 0 {
		a.b = append(a.b, 0)
	}
}

func (a *archive) close() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.b
}
