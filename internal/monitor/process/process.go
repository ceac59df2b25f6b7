// Package process is the monitor that runs an image as a confined Linux process. The process
// has its own namespaces, an empty root and no capabilities. A seccomp filter limits it to the
// system calls of the table in calls.go.
//
// The monitor executes itself again as the jail (jail.go). The jail drops its rights and then
// executes the image. The monitor depends only on Linux. Package instance calls it as an
// [instance.Monitor].
package process

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Monitor is the process monitor.
type Monitor struct{}

var _ instance.Monitor = Monitor{}

// description is the process monitor as data. It offers nothing that needs a VM.
var description = instance.Description{
	Name:      "process",
	Can:       []instance.Part{instance.HostNetwork, instance.Owner},
	Essential: true,
	Without:   "images cannot run on this host",
	MinMemory: 16 << 20, // for the Go runtime, the library OS and a small program
}

// Describe implements [instance.Monitor].
func (Monitor) Describe() *instance.Description { return &description }

// Ready implements [instance.Monitor]. This monitor runs on almost every host. Where it does
// not, the other monitors do not run either.
func (Monitor) Ready(context.Context) (string, error) { return "", nil }

// Probe implements [instance.Monitor]: it runs an image that exits at once.
func (m Monitor) Probe(ctx context.Context) (string, error) {
	var trial tinyelf.Program
	trial.Exit(0)
	image, err := jail.InMemory(bytes.NewReader(trial.Bytes()))
	if err != nil {
		return "", err
	}
	defer image.Close()
	i, err := instance.Start(ctx, &instance.Spec{
		Monitor: m, Image: image, Args: []string{"probe"}, CPUs: 1, Memory: description.MinMemory,
	})
	if err != nil {
		return "", err
	}
	code, err := i.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("a trial image ended with %d", code)
	}
	return i.How(), err
}

// running is a running image. It implements [instance.Running].
type running struct {
	*jail.Process
	launch  *instance.Launch
	how     string
	control *os.File
	link    link.Link        // the network card's link; nil: no card
	files   *folders.Server  // nil: no folders
	sockets *hostinet.Server // nil: no host sockets
}

func (r *running) How() string            { return r.how }
func (r *running) Processes() []int       { return []int{r.PID} }
func (r *running) Ended() <-chan struct{} { return r.Process.Ended }
func (r *running) Accepts() bool          { return true }
func (r *running) Link() link.Link        { return r.link }

// Unplug implements [instance.Running]. The network closes the link in any case,
// and the image reads the end of its packet socket.
func (r *running) Unplug() error { return nil }

// Acknowledge implements [instance.Running]. It does nothing, because the image sees the state
// of its listening sockets.
func (r *running) Acknowledge(string) {}

// Tasks implements [instance.Running].
func (r *running) Tasks() []func(context.Context) error {
	var tasks []func(context.Context) error
	if r.files != nil {
		tasks = append(tasks, func(context.Context) error { return r.files.Serve() })
	}
	if r.sockets != nil {
		tasks = append(tasks, func(context.Context) error { return r.sockets.Serve() })
	}
	return tasks
}

// Receive implements [instance.Running].
func (r *running) Receive(handle func(message string)) {
	buf := make([]byte, boot.MaxMessage+1)
	for {
		n, err := r.control.Read(buf)
		if err != nil {
			return // the image or Stop has closed the socket
		}
		if n <= boot.MaxMessage {
			handle(string(buf[:n]))
		}
	}
}

// Stop implements [instance.Running].
func (r *running) Stop() error {
	if r.files != nil {
		r.files.Stop()
	}
	if r.sockets != nil {
		r.sockets.Stop()
	}
	return r.control.Close()
}

// Result implements [instance.Running].
func (r *running) Result() (int, error) {
	if r.files != nil {
		r.files.Close()
	}
	if r.sockets != nil {
		r.sockets.Close()
	}
	status, err := r.Reap()
	if err != nil {
		return 0, err
	}
	if status.Signaled() && status.Signal() == unix.SIGSYS {
		r.launch.Warn("killed: the image made a system call that its monitor forbids")
	}
	return instance.ExitCode(status), nil
}

// Start implements [instance.Monitor]. It returns when the jail has executed the image.
func (Monitor) Start(ctx context.Context, l *instance.Launch) (instance.Running, error) {
	r, err := start(ctx, l)
	if err != nil {
		return nil, err
	}
	return r, nil
}
