package instance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/libos/boot"
)

// Limits of every instance. The limits of a monitor are in its [Description], and the limits of
// messages are in libos/boot.
const (
	// MaxCPUs is the maximum number of CPUs.
	MaxCPUs = boot.MaxCPUs
	// HugePage is the usual size of a huge page in bytes. With huge pages, the memory of
	// an instance must be a multiple of it.
	HugePage = 2 << 20

	maxHostname      = 64 // sethostname(2)
	maxHostnameLabel = 63 // RFC 1123 §2.1
	// maxVsockPath is the maximum length of Spec.Vsock in bytes. The path of a socket has
	// at most 108 bytes (unix(7)). This leaves room for an underscore, a port and a zero.
	maxVsockPath = 108 - len("_4294967295") - 1
)

// Check returns the first mistake in the Spec as an [Error]. It does not check the image, and
// Image may be nil. It checks the host's files, but keeps none of them open. Start calls it. A
// caller that first builds the image calls it before the build.
func (s *Spec) Check() error {
	if s.Monitor == nil {
		return Errorf(Runner, "the Spec names no monitor")
	}
	d := s.Monitor.Describe()
	for _, part := range s.Needs() {
		if !slices.Contains(d.Can, part) {
			return Errorf(part, "monitor %s cannot do this", d.Name)
		}
	}
	for _, check := range []func(*Description) error{
		s.checkSize, s.checkUser, s.checkHostname, s.checkStrings, s.checkFolders, s.checkDisks, s.checkVsock, s.checkPorts, s.checkMachine,
	} {
		if err := check(d); err != nil {
			return err
		}
	}
	group, err := cgroup.Open(s.Cgroup)
	if err != nil {
		return &Error{Cgroup, err}
	}
	return group.Close()
}

func (s *Spec) checkSize(d *Description) error {
	const unit = 1 << 20
	switch {
	case s.CPUs < 0 || s.CPUs > MaxCPUs:
		return Errorf(CPUs, "%d is not possible: give a number from 1 to %d", s.CPUs, MaxCPUs)
	case s.Memory < d.MinMemory:
		return Errorf(Memory, "%s is too little: give at least %dM", size(s.Memory), d.MinMemory/unit)
	case s.HugePages && s.Memory%HugePage != 0:
		return Errorf(Memory, "%s is not a multiple of %dM, the size of the huge pages: give a multiple", size(s.Memory), HugePage/unit)
	}
	return nil
}

// size returns a number of bytes in the form that users write.
func size(n uint64) string {
	for _, u := range []struct {
		shift int
		unit  string
	}{{30, "G"}, {20, "M"}, {10, "K"}} {
		if n>>u.shift > 0 && n&(1<<u.shift-1) == 0 {
			return strconv.FormatUint(n>>u.shift, 10) + u.unit
		}
	}
	return strconv.FormatUint(n, 10)
}

// checkHostname accepts names of RFC 1123 §2.1 up to the 64 bytes of sethostname(2).
func (s *Spec) checkHostname(*Description) error {
	if s.Hostname == "" {
		return nil
	}
	if len(s.Hostname) > maxHostname {
		return Errorf(Hostname, "%s is longer than %d characters", s.Hostname, maxHostname)
	}
	for label := range strings.SplitSeq(s.Hostname, ".") {
		ok := label != "" && len(label) <= maxHostnameLabel && label[0] != '-' && label[len(label)-1] != '-'
		for _, r := range label {
			ok = ok && (r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
		}
		if !ok {
			return Errorf(Hostname, "%s is not a host's name: use letters, digits and hyphens, in labels separated by dots", s.Hostname)
		}
	}
	return nil
}

// checkStrings rejects strings that execve(2) cannot pass to a program.
func (s *Spec) checkStrings(*Description) error {
	for _, list := range [][]string{s.Args, s.Env, {s.Dir}} {
		for _, v := range list {
			if strings.Contains(v, "\x00") {
				return Errorf(Arguments, "%.40q contains a zero byte", v)
			}
		}
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return Errorf(Arguments, "the working directory %s is not an absolute path", s.Dir)
	}
	return nil
}

func (s *Spec) checkFolders(d *Description) error {
	if n := len(s.Folders) + len(s.Disks); d.MaxDevices > 0 && n > d.MaxDevices {
		return Errorf(Folders, "%d folders and disks are more than monitor %s can share: give at most %d", n, d.Name, d.MaxDevices)
	}
	seen := make(map[string]bool)
	for _, f := range s.Folders {
		if !path.IsAbs(f.Guest) || strings.Contains(f.Guest, ":") {
			return Errorf(Folders, "%q is not an absolute path without a colon", f.Guest)
		}
		if seen[path.Clean(f.Guest)] {
			return Errorf(Folders, "%s is given twice: leave one out", f.Guest)
		}
		seen[path.Clean(f.Guest)] = true
		info, err := os.Stat(f.Host)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return Errorf(Folders, "there is no folder %s: make it, or give another", f.Host)
		case err != nil:
			return &Error{Folders, err}
		case !info.IsDir():
			return Errorf(Folders, "%s is not a folder: give the folder that it is in", f.Host)
		}
	}
	return nil
}

func (s *Spec) checkDisks(*Description) error {
	for _, disk := range s.Disks {
		info, err := os.Stat(disk.Path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return Errorf(Disks, "there is no file %s: make one of 1G with truncate -s 1G %s", disk.Path, disk.Path)
		case err != nil:
			return &Error{Disks, err}
		case !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice:
			return Errorf(Disks, "%s is neither a file nor a block device", disk.Path)
		}
	}
	return nil
}

func (s *Spec) checkVsock(*Description) error {
	if s.Vsock == "" {
		return nil
	}
	if len(s.Vsock) > maxVsockPath {
		return Errorf(Vsock, "%s is too long for the path of a socket: give at most %d bytes", s.Vsock, maxVsockPath)
	}
	if info, err := os.Stat(filepath.Dir(s.Vsock)); err != nil || !info.IsDir() {
		return Errorf(Vsock, "there is no folder %s: make it, or give another", filepath.Dir(s.Vsock))
	}
	return nil
}

func (s *Spec) checkUser(*Description) error {
	const most = 1<<32 - 2 // the next one means "no change" (setresuid(2))
	if u := s.User; u != nil && (u.UID == 0 || u.GID == 0 || u.UID > most || u.GID > most) {
		return Errorf(Owner, "%d:%d is not possible: give ids from 1 to %d", u.UID, u.GID, uint32(most))
	}
	return nil
}

func (s *Spec) checkPorts(*Description) error {
	if len(s.Ports) > 0 && s.Network == nil {
		return Errorf(Ports, "an instance without a network has no ports")
	}
	if len(s.Ports) > 0 && slices.Contains(s.Network.Needs(), TAP) {
		return Errorf(Ports, "an instance with a tap interface has its own address: do not publish ports")
	}
	if len(s.Ports) > 0 && slices.Contains(s.Network.Needs(), HostNetwork) {
		return Errorf(Ports, "an instance in the network of the host listens there by itself: do not publish ports")
	}
	seen := make(map[uint16]bool)
	for _, p := range s.Ports {
		if p.Number == 0 || seen[p.Number] {
			return Errorf(Ports, "port %d is 0 or is given twice", p.Number)
		}
		seen[p.Number] = true
	}
	return nil
}

func (s *Spec) checkMachine(d *Description) error {
	m := s.Machine
	if err := oneOf(MachineType, m.Type, d.MachineTypes); err != nil {
		return err
	}
	if err := oneOf(Accelerator, m.Accelerator, d.Accelerators); err != nil {
		return err
	}
	if strings.ContainsFunc(m.CPUModel, func(r rune) bool { return r <= ' ' }) {
		return Errorf(CPUModel, "%q contains a space: write it without", m.CPUModel)
	}
	if m.Debugger == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(m.Debugger)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host == "" {
		return Errorf(Debugger, "%s is not HOST:PORT", m.Debugger)
	}
	return nil
}

// oneOf accepts a value of the list and an empty value.
func oneOf(part Part, value string, list []string) error {
	if value == "" || slices.Contains(list, value) {
		return nil
	}
	return &Error{part, fmt.Errorf("%s is not known: choose %s", value, strings.Join(list, " or "))}
}
