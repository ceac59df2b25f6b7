package kvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/internal/device/vsock"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm/confine"
	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// start starts the VMM and waits until its VM runs.
func start(ctx context.Context, l *instance.Launch) (_ *running, err error) {
	if l.HugePages {
		if err := guest.CheckHugePages(l.Memory); err != nil {
			return nil, err
		}
	}
	var own []*os.File // this process closes them in any case
	handed := func() {
		for _, f := range own {
			f.Close()
		}
		own = nil
	}
	defer handed()
	r := &running{launch: l, failure: make(chan error, 1), control: guest.NewControl()}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.abandon())
		}
	}()

	var disks []*block.Backend
	var fds files
	for _, f := range []*os.File{l.Stdin, l.Stdout, l.Stderr} {
		if f == nil {
			if f, err = null(); err != nil {
				return nil, err
			}
		}
		fds.add(f)
	}
	pair := func(name string) (ours, theirs *os.File, err error) {
		ours, theirs, err = socketpair(name, unix.SOCK_STREAM)
		own = append(own, theirs)
		return ours, theirs, err
	}
	var theirs *os.File
	if r.status, theirs, err = pair("status"); err != nil {
		return nil, err
	}
	fds.add(theirs) // statusFD
	device, err := kvm.Open()
	if err != nil {
		return nil, err
	}
	own = append(own, device)
	for _, d := range l.Disks {
		b, err := block.Open(d.Path, d.ReadOnly)
		if err != nil {
			return nil, err
		}
		own = append(own, b.File)
		disks = append(disks, b)
	}
	req := request{
		KVM: fds.add(device), Image: fds.add(l.Image),
		CPUs: max(1, l.Boot.CPUs), Memory: l.Boot.Memory, HugePages: l.HugePages,
		Streams:   [3]bool{l.Stdin != nil, l.Stdout != nil, l.Stderr != nil},
		Verbose:   l.Verbose,
		OneOutput: guest.SameFile(l.Stdout, l.Stderr),
	}
	if r.control.Port, theirs, err = pair(boot.PortControl); err != nil {
		return nil, err
	}
	req.Control = fds.add(theirs)
	if req.Line, err = guest.BootLine(l); err != nil {
		return nil, err
	}
	if l.Network != nil {
		var file *os.File
		if req.Net, file, err = r.network(l, &fds, req.CPUs); err != nil {
			return nil, err
		}
		own = append(own, file)
	}
	for n, m := range l.Boot.Mounts {
		socket, err := r.serveFolder(l.Folders[n])
		if err != nil {
			return nil, err
		}
		own = append(own, socket)
		req.Folders = append(req.Folders, folderRequest{m.Tag, fds.add(socket)})
	}
	for n, b := range disks {
		req.Disks = append(req.Disks, diskRequest{fds.add(b.File), b.Info, min(req.CPUs, guest.MaxPairs),
			int64(l.Disks[n].Rate), int64(l.Disks[n].IOPS)})
	}
	if l.Vsock != "" {
		if r.broker, err = vsock.Listen(l.Vsock); err != nil {
			return nil, err
		}
		req.Vsock = &vsockRequest{fds.add(r.broker.Listener), fds.add(r.broker.Device)}
	}
	if err := r.launchVMM(ctx, l, &fds, &req, handed); err != nil {
		return nil, err
	}
	if r.broker != nil {
		return r, r.broker.Handed()
	}
	return r, nil
}

// launchVMM starts the VMM and sends it the request. It calls handed once the VMM has its
// descriptors. handed closes this process's copies. Otherwise this process would not notice
// the VMM's end.
func (r *running) launchVMM(ctx context.Context, l *instance.Launch, fds *files, req *request, handed func()) error {
	numbers := make([]int, len(fds.list))
	for n, f := range fds.list {
		numbers[n] = int(f.Fd())
	}
	group, err := cgroup.Open(l.Cgroup)
	if err != nil {
		return err
	}
	r.process, r.how, err = jail.Start(ctx, jail.Program{
		Name: vmmName, Env: append(confine.Environment, fmt.Sprintf("GOMAXPROCS=%d", share())), Files: numbers,
		Limits: limits, Threads: maxThreads, Cgroup: group,
	})
	if err := errors.Join(err, group.Close()); err != nil {
		return fmt.Errorf("start the virtual machine monitor: %w", err)
	}
	handed()
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	// If the VMM has ended early, its report explains more than this error.
	_, writeErr := r.status.Write(line)
	r.answers = json.NewDecoder(r.status)
	var report jail.Report
	switch err := r.answers.Decode(&report); {
	case err != nil:
		return fmt.Errorf("the virtual machine monitor ended early: %w", errors.Join(ctx.Err(), writeErr, err))
	case report.Error != "":
		return errors.New(report.Error)
	}
	return nil
}

// limits are the resource limits of the VMM's process.
var limits = map[int]uint64{
	unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0, unix.RLIMIT_NICE: 0, unix.RLIMIT_RTPRIO: 0,
	unix.RLIMIT_NOFILE: 4096,
}

// maxThreads is far more than the vCPUs, the devices and the Go runtime need.
const maxThreads = 512

// serveFolder makes the server of a folder, and returns the VMM's end of its
// socket.
func (r *running) serveFolder(f instance.Folder) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for %s: %w", f.Host, err)
	}
	theirs := os.NewFile(uintptr(fds[1]), f.Host)
	folders.GrowBuffer(fds[1])
	s, err := folders.New(fds[0], []ninep.Folder{{Path: f.Host, ReadOnly: f.ReadOnly}})
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	r.folders = append(r.folders, s)
	return theirs, nil
}

// socketpair makes a pair of connected unix sockets.
func socketpair(name string, kind int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
