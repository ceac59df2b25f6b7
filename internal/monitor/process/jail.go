package process

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/libos/boot"
)

// jailName is argument 0 of a process that becomes the jail. Its only other
// argument is the number of listening sockets.
const jailName = "pith-jail"

// The jail starts with the descriptors that package boot numbers. The listening sockets are
// the last of them. The image's file and the status socket follow. The jail moves the file to
// a number that the image's limit excludes. execveat(2) closes both, and the first connections
// get their old numbers.
func imageFD(listeners int) int  { return boot.FDListen + listeners }
func statusFD(listeners int) int { return boot.FDListen + listeners + 1 }

// request is the monitor's message to the jail. Arguments and environment are byte slices,
// because they may be invalid UTF-8.
type request struct {
	jail.Request
	Args, Env [][]byte
	Boot      boot.Config
}

// Main runs as the jail if this process was started as one. Otherwise it returns at once. It
// must be the first call of main.
func Main() {
	if len(os.Args) != 2 || os.Args[0] != jailName {
		return
	}
	// The jail is this thread: capabilities, user and filter are attributes
	// of a thread, and execveat ends the runtime's other threads.
	runtime.LockOSThread()
	listeners, err := strconv.Atoi(os.Args[1])
	if err == nil {
		status := statusFD(listeners)
		err = enter(listeners, status)
		// This fails only if the monitor has ended.
		_ = jail.SendReport(status, jail.Report{Error: err.Error()})
	}
	os.Exit(boot.ExitFailure)
}

// enter drops all privileges and executes the image. It returns only on failure.
func enter(listeners, status int) error {
	var req request
	if err := jail.Receive(status, &req); err != nil {
		return err
	}
	image := imageFD(listeners)
	if err := jail.KeepOnly(image, status); err != nil {
		return err
	}
	descriptors, err := descriptorLimit()
	if err != nil {
		return err
	}
	limits, err := resourceLimits(&req, descriptors)
	if err != nil {
		return err
	}
	if image, err = jail.MoveAbove(image, descriptors); err != nil {
		return err
	}
	root, err := req.Enter(image)
	if err != nil {
		return err
	}
	if err := jail.SendReport(status, jail.Report{Root: root}); err != nil {
		return fmt.Errorf("report to the monitor: %w", err)
	}

	req.Boot.PID = os.Getpid()
	env := append([][]byte{[]byte(boot.EnvVar + "=" + req.Boot.String())}, req.Env...)
	exec, err := jail.NewExecution("the image", image, req.Args, env)
	if err != nil {
		return err
	}
	b := bounds{
		pid: req.Boot.PID, network: req.Boot.Net != nil, folders: len(req.Boot.Mounts) > 0,
		sockets: req.Boot.Sockets != boot.SocketsNone || listeners > 0, addresses: req.Boot.Sockets == boot.SocketsAll, listeners: listeners, descriptors: uint32(descriptors),
	}
	b.exec.fd = image
	b.exec.path, b.exec.argv, b.exec.envp = exec.Pointers()
	code, err := jail.Filter(permitted(b))
	if err != nil {
		return err
	}
	return exec.Exec(limits, code)
}
