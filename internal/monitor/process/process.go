// Package process is the monitor that runs an image as a confined Linux
// process: own namespaces, an empty root, no capability, and a seccomp filter
// that permits the system calls of the table in calls.go.
//
// The monitor executes itself again as the jail (jail.go), which gives up all
// it can and then becomes the image. It stands on Linux alone; `pith run`
// calls it through [monitor.Monitor].
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Monitor is the process monitor.
type Monitor struct{}

var _ monitor.Monitor = Monitor{}

// Name implements [monitor.Monitor].
func (Monitor) Name() string { return "process" }

// Can implements [monitor.Monitor]: all of it is for virtual machines.
func (Monitor) Can(monitor.Need) bool { return false }

// Ready implements [monitor.Monitor]: where it is not, nothing else of pith is.
func (Monitor) Ready(context.Context) (string, error) { return "", nil }

// Probe implements [monitor.Monitor]: it runs an image that exits at once.
func (m Monitor) Probe(ctx context.Context) (string, error) {
	var trial tinyelf.Program
	trial.Exit(0)
	image, err := jail.InMemory(bytes.NewReader(trial.Bytes()))
	if err != nil {
		return "", err
	}
	defer image.Close()
	c := &monitor.Config{Image: image, Args: []string{"probe"}, Boot: boot.Config{CPUs: 1, Memory: 16 << 20}}
	img, how, err := start(ctx, c, nil)
	if err != nil {
		return "", err
	}
	code, err := img.supervise(ctx, c, nil, &monitor.Signals{}, discard)
	if err == nil && code != 0 {
		err = fmt.Errorf("a trial image ended with %d", code)
	}
	return how, err
}

func discard(string, ...any) {}

// Run implements [monitor.Monitor].
func (Monitor) Run(ctx context.Context, c *monitor.Config) (int, error) {
	if (c.Network != nil) != (c.Boot.Net != nil) {
		return 0, errors.New("a network device and its boot parameters go together")
	}
	log := c.Log
	if log == nil {
		log = discard
	}
	listeners, err := monitor.Bind(c.Publish)
	if err != nil {
		return 0, err
	}
	defer monitor.CloseListeners(listeners)

	signals := monitor.CatchSignals()
	defer signals.Stop()

	img, how, err := start(ctx, c, listeners)
	if err != nil {
		return 0, err
	}
	log("confined: %s", how)
	return img.supervise(ctx, c, listeners, signals, log)
}

// supervise serves a running image until it ends.
func (img *image) supervise(ctx context.Context, c *monitor.Config, listeners []*monitor.Listener, signals *monitor.Signals,
	log func(string, ...any)) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	failed := make(chan error, 3)
	tasks.Go(func() {
		if err := obey(img.control, listeners, log); err != nil {
			failed <- err
		}
	})
	if c.Network != nil {
		tasks.Go(func() {
			if err := plugIn(ctx, c.Network, img.link); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("network: %w", err)
			}
		})
	}
	if img.files != nil {
		tasks.Go(func() {
			if err := img.files.Serve(); err != nil {
				failed <- err
			}
		})
	}

	var failure error
	done := ctx.Done()
	for running := true; running; {
		select {
		case err := <-img.Ended:
			failure = errors.Join(failure, err)
			running = false
		case sig := <-signals.C:
			signals.Relay(sig, img.Signal)
		case err := <-failed:
			failure = errors.Join(failure, err)
			img.Signal(unix.SIGKILL)
		case <-done:
			done = nil
			img.Signal(unix.SIGKILL)
		}
	}
	status, err := img.Reap()
	cancel()
	img.control.Close()
	if img.files != nil {
		img.files.Stop()
	}
	tasks.Wait()
	if img.files != nil {
		img.files.Close()
	}
	if err := errors.Join(failure, err); err != nil {
		return 0, err
	}
	if !status.Signaled() {
		return status.ExitStatus(), nil
	}
	if status.Signal() == unix.SIGSYS && c.Stderr != nil {
		fmt.Fprintln(c.Stderr, "pith: killed: the image made a system call that its monitor forbids")
	}
	return 128 + int(status.Signal()), nil
}

// plugIn gives the network the monitor's end of the network device.
func plugIn(ctx context.Context, n link.Network, packets *os.File) error {
	// A link takes a descriptor over: it gets one of its own.
	fd, err := unix.FcntlInt(packets.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err := errors.Join(err, packets.Close()); err != nil {
		return err
	}
	l, err := link.NewSocket(fd)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	return n.Serve(ctx, l)
}

// obey reads the image's control messages until it ends.
func obey(control *os.File, listeners []*monitor.Listener, log func(string, ...any)) error {
	buf := make([]byte, 256)
	for {
		n, err := control.Read(buf)
		if err != nil {
			return nil // the image, or this monitor, has closed it
		}
		if err := monitor.Obey(string(buf[:n]), listeners, (*monitor.Listener).Listen, log); err != nil {
			return err
		}
	}
}
