package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pith-os/pith/internal/kvm"

	"golang.org/x/sys/unix"
)

// known is the result of a trial in the user's cache. The cache keeps only successful
// trials. A failed trial runs again each time.
type known struct {
	Host  host
	Found Found
}

// host identifies the properties of the host on which a trial's result depends.
type host struct {
	Boot, Kernel string
	// Device identifies /dev/kvm. It changes when KVM's module is loaded again, and
	// when the device's permissions change.
	Device [4]int64
}

// Known returns the result of Run from the cache. If the cache has no result since the
// last boot of the host, Known calls Run.
func Known(ctx context.Context) (Found, error) {
	// The cache does not record whether this user may open /dev/kvm.
	h, err := thisHost()
	if err != nil {
		return Found{}, err
	}
	if k, err := read(); err == nil && k.Host == h {
		return k.Found, nil
	}
	return Renew(ctx)
}

// Renew calls Run and stores the result for Known.
func Renew(ctx context.Context) (Found, error) {
	h, err := thisHost()
	if err != nil {
		return Found{}, err
	}
	found, err := Run(ctx)
	if err != nil {
		Forget()
		return Found{}, err
	}
	// If this fails, the next caller tries KVM again.
	_ = write(known{h, found})
	return found, nil
}

// Forget deletes the stored result, so that the next call of Known tries KVM.
func Forget() {
	if path, err := cache(); err == nil {
		_ = os.Remove(path)
	}
}

// thisHost identifies this host. It returns an error if this process may not use KVM.
func thisHost() (h host, err error) {
	device, err := kvm.Open()
	if err != nil {
		return h, err
	}
	defer device.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &st); err != nil {
		return h, &os.PathError{Op: "stat", Path: kvm.Device, Err: err}
	}
	h.Device = [4]int64{int64(st.Dev), int64(st.Ino), int64(st.Rdev), st.Ctim.Nano()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return h, os.NewSyscallError("uname", err)
	}
	h.Kernel = unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Version[:])
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	h.Boot = strings.TrimSpace(string(boot))
	return h, err
}

// cache returns the name of the cache's file.
func cache() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "pith", "kvm.json"), err
}

func read() (k known, err error) {
	path, err := cache()
	if err != nil {
		return k, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return known{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// write replaces the file. Other processes may be reading or replacing it.
func write(k known) (err error) {
	path, err := cache()
	if err != nil {
		return err
	}
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "kvm-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
