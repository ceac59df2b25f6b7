// Package linuxguest provides a small Linux guest to compare with: Debian's cloud
// kernel, and an initial RAM disk that holds one Go program. Command bench and tests
// of devices start it on QEMU.
package linuxguest

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// metapackage is a Debian package that depends on the current cloud kernel.
const metapackage = "linux-image-cloud-amd64"

// modules are the modules for a network card. Each comes after those it needs.
var modules = []string{
	"virtio_ring.ko",
	"virtio.ko",
	"virtio_mmio.ko",
	"virtio_pci_legacy_dev.ko",
	"virtio_pci_modern_dev.ko",
	"virtio_pci.ko",
	"failover.ko",
	"net_failover.ko",
	"virtio_net.ko",
}

// Kernel is a kernel on disk.
type Kernel struct {
	Version string // of the package, with its name
	Image   string // path of the bzImage, for QEMU's -kernel
	dir     string
}

var kernelPackage = regexp.MustCompile(`(?m)^Depends: .*\b(linux-image-[0-9][^ ,]*) \(= ([^)]+)\)`)

// Fetch returns the kernel from the user's cache folder. It fetches the kernel with
// apt-get first if it is not there.
func Fetch(ctx context.Context) (*Kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	show, err := exec.CommandContext(ctx, "apt-cache", "show", "--no-all-versions", metapackage).Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache does not know %s (apt-get update makes it known): %w", metapackage, err)
	}
	found := kernelPackage.FindSubmatch(show)
	if found == nil {
		return nil, fmt.Errorf("%s depends on no kernel", metapackage)
	}
	name, version := string(found[1]), string(found[2])
	dir := filepath.Join(cache, "pith", "linux", name+"_"+version)
	k := &Kernel{Version: name + " " + version, Image: filepath.Join(dir, "vmlinuz"), dir: dir}
	if _, err := os.Stat(dir); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return nil, err
	}
	err = fetch(ctx, work, name+"="+version)
	if err == nil {
		err = os.Rename(work, dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fetch %s: %w", name, err), os.RemoveAll(work))
	}
	return k, nil
}

var megahertz = regexp.MustCompile(`(?m)^cpu MHz\s*: ([0-9.]+)$`)

// Clock returns what Linux needs on its command line on QEMU's microvm without KVM:
// the frequency of the time stamp counter. It is the host's frequency there. Linux
// cannot measure it, because microvm has no second clock.
func Clock() (string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	found := megahertz.FindSubmatch(info)
	if found == nil {
		return "", errors.New("/proc/cpuinfo has no frequency")
	}
	mhz, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		return "", fmt.Errorf("/proc/cpuinfo: %w", err)
	}
	return fmt.Sprintf("tsc_early_khz=%.0f tsc=reliable", mhz*1000), nil
}

// fetch writes the package's kernel and modules to dir.
func fetch(ctx context.Context, dir, pkg string) error {
	get := exec.CommandContext(ctx, "apt-get", "-q", "download", pkg)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return errors.Join(fmt.Errorf("apt-get download left %d packages", len(debs)), err)
	}
	unpack := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", debs[0])
	unpack.Stderr = os.Stderr
	files, err := unpack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := unpack.Start(); err != nil {
		return err
	}
	err = extract(files, dir)
	if err != nil {
		_ = unpack.Process.Kill() // it may have ended
	}
	if err := errors.Join(err, unpack.Wait()); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(debs[0]), err)
	}
	return os.Remove(debs[0])
}

// extract writes the kernel and its modules to dir.
func extract(archive io.Reader, dir string) error {
	want := append([]string{"vmlinuz"}, modules...)
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		base := path.Base(h.Name)
		if ok, _ := path.Match("./boot/vmlinuz-*", h.Name); ok {
			base = "vmlinuz"
		}
		i := slices.Index(want, base)
		if i < 0 || h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, base), b, 0o644); err != nil {
			return err
		}
		want = slices.Delete(want, i, i+1)
	}
	if len(want) > 0 {
		return fmt.Errorf("not in the package: %q", want)
	}
	return nil
}

// Uncompressed returns the path of the kernel as an ELF file, which boots by the PVH
// ABI. The guest then spends no time on unpacking.
func (k *Kernel) Uncompressed(ctx context.Context) (string, error) {
	path := filepath.Join(k.dir, "vmlinux")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	image, err := os.ReadFile(k.Image)
	if err != nil {
		return "", err
	}
	packed, err := payload(image)
	if err != nil {
		return "", fmt.Errorf("%s: %w", k.Image, err)
	}
	unpack := exec.CommandContext(ctx, "lz4", "-dc") // as Debian packs its current kernel
	unpack.Stdin = bytes.NewReader(packed)
	whole, err := unpack.Output()
	if err != nil {
		return "", fmt.Errorf("lz4 (apt-get install lz4) does not unpack %s: %w", k.Image, err)
	}
	if !bytes.HasPrefix(whole, []byte(elf.ELFMAG)) {
		return "", fmt.Errorf("%s contains no ELF file", k.Image)
	}
	f, err := os.CreateTemp(k.dir, "vmlinux-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(whole)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, os.Rename(f.Name(), path)
}

// payload returns the packed kernel in a bzImage, without the unpacked size that
// follows it (Linux, Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
// payload_length).
func payload(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	at := (uint64(image[0x1f1])+1)*512 + uint64(binary.LittleEndian.Uint32(image[0x248:]))
	n := uint64(binary.LittleEndian.Uint32(image[0x24c:]))
	if n < 4 || at+n > uint64(len(image)) {
		return nil, errors.New("the payload ends after the file")
	}
	return image[at:][:n-4], nil
}
