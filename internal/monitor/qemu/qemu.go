// Package qemu is the monitor that runs an image as a virtual machine of QEMU,
// with KVM where that runs code and by translation (TCG) elsewhere.
//
// QEMU is a child that inherits all it uses as descriptors: the image, and a
// socket to this process for each of the program's standard streams, for
// control and for packets. It opens no terminal and listens to nothing. The
// machine's devices are in command.go, what is said on its ports in
// libos/boot. `pith run` calls it through [monitor.Monitor].
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/guest"

	"golang.org/x/sys/unix"
)

// Monitor is the QEMU monitor.
type Monitor struct{}

var _ monitor.Monitor = Monitor{}

// Name implements [monitor.Monitor].
func (Monitor) Name() string { return "qemu" }

// Can implements [monitor.Monitor].
func (Monitor) Can(n monitor.Need) bool { return n != monitor.NeedVsock }

// Ready implements [monitor.Monitor].
func (Monitor) Ready(context.Context) (string, error) {
	_, err := find()
	return "", err
}

// Run implements [monitor.Monitor].
func (Monitor) Run(ctx context.Context, c *monitor.Config) (int, error) {
	if (c.Network != nil) != (c.Boot.Net != nil) || c.Network == nil && len(c.Publish) > 0 {
		return 0, errors.New("a network device, its boot parameters and published ports go together")
	}
	log := c.Log
	if log == nil {
		log = func(string, ...any) {}
	}
	program, err := find()
	if err != nil {
		return 0, err
	}
	if c.Limits.HugePages {
		if err := monitor.CheckHugePages(c.Boot.Memory); err != nil {
			return 0, err
		}
	}
	how, err := chooseAccel(ctx, c.Machine.Accel)
	if err != nil {
		return 0, err
	}
	listeners, err := monitor.Bind(c.Publish)
	if err != nil {
		return 0, err
	}
	defer monitor.CloseListeners(listeners)

	signals := monitor.CatchSignals()
	defer signals.Stop()
	// That nobody reads the output any more is the program's matter, and in
	// the background this process is not to be stopped for its input.
	signal.Ignore(unix.SIGTTIN)
	defer signal.Reset(unix.SIGTTIN)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)

	vm, err := start(ctx, program, how.accel, c)
	if err != nil {
		return 0, err
	}
	log("virtual machine: %s", how)
	if c.Machine.GDB != "" && c.Stderr != nil {
		fmt.Fprintf(c.Stderr, "pith: the program waits for a debugger: gdb -ex 'target remote %s' -ex 'hbreak main.main' -ex continue %s\n",
			c.Machine.GDB, symbols(c.Image))
	}
	code, err := vm.supervise(ctx, c, listeners, signals, log)
	if errors.Is(err, errStuck) {
		err = fmt.Errorf("%w: KVM does not run this image here: choose --accel tcg", err)
	}
	return code, err
}

// symbols is a path by which a debugger finds the image while it runs: that of
// a package's image is gone by then.
func symbols(image *os.File) string {
	open, err1 := image.Stat()
	named, err2 := os.Stat(image.Name())
	if err1 == nil && err2 == nil && os.SameFile(open, named) {
		return image.Name()
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), image.Fd())
}

// supervise serves a running machine until it ends.
func (vm *machine) supervise(ctx context.Context, c *monitor.Config, listeners []*monitor.Listener,
	signals *monitor.Signals, log func(string, ...any)) (int, error) {
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // the first is enough
		}
	}
	ports := guest.Published{Network: c.Network}
	exit := noExit
	var tasks sync.WaitGroup
	tasks.Go(func() { vm.streams.serve(serving, c, log) })
	tasks.Go(func() { vm.control.Serve(serving) })
	tasks.Go(func() {
		vm.control.Hear(func(message string) {
			if err := ports.Obey(message, listeners, &vm.control, log); err != nil {
				fail(err)
			}
		})
	})
	tasks.Go(func() { exit = lastExit(vm.debugControl) })
	tasks.Go(func() {
		if err := vm.words.listen(log); err != nil {
			fail(err)
		}
	})
	if c.Network != nil {
		tasks.Go(func() {
			if err := c.Network.Serve(serving, vm.link); err != nil && serving.Err() == nil {
				fail(fmt.Errorf("network: %w", err))
			}
		})
	}

	var failure error
	done := ctx.Done()
	for running := true; running; {
		select {
		case <-vm.ended:
			running = false
		case sig := <-signals.C:
			signals.Relay(sig, vm.signal)
		case failure = <-failed:
			vm.signal(unix.SIGKILL)
		case <-done:
			done = nil
			vm.signal(unix.SIGKILL)
		}
	}
	cancel()
	err := vm.unplug()
	tasks.Wait()
	ports.Close()
	if failure = errors.Join(failure, err); failure != nil {
		return 0, failure
	}
	return vm.result(exit)
}
