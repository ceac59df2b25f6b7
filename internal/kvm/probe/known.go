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

// known is what is kept of a trial in the user's cache: that KVM runs code. What
// does not work is tried again each time.
type known struct {
	Host  host
	Found Found
}

// host is where a trial was made, as far as what it finds depends on that.
type host struct {
	Boot, Kernel string
	// Device is /dev/kvm's file: another one after its module was loaded anew,
	// changed with who may use it.
	Device [4]int64
}

// Known is what Run found since the host was started, or finds now.
func Known(ctx context.Context) (Found, error) {
	// That it opens is not for the cache to say.
	h, err := thisHost()
	if err != nil {
		return Found{}, err
	}
	if k, err := read(); err == nil && k.Host == h {
		return k.Found, nil
	}
	return Renew(ctx)
}

// Renew is Run, which Known knows of from now on.
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
	// Without a cache the next one tries again.
	_ = write(known{h, found})
	return found, nil
}

// Forget has the next call of Known try KVM.
func Forget() {
	if path, err := cache(); err == nil {
		_ = os.Remove(path)
	}
}

// thisHost is where this process runs, if it may use KVM there.
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

// cache is the file.
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

// write replaces the file, which others may be reading or replacing.
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
