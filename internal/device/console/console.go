// Package console implements a virtio console with several ports (virtio 1.2
// §5.3). A port is a named byte stream between the guest and files of the host,
// which the monitor provides. Each port has its own goroutines, so that a slow
// reader of one port does not block the others. A goroutine blocks in read(2)
// or write(2) itself: the files are shared with other processes, so they must
// not become non-blocking.
//
// The device reads from a file only when the guest has a buffer for the data.
// Data go directly between the file and guest memory. The device returns an
// output buffer once it has written the data.
package console

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
)

// featureMultiport is VIRTIO_CONSOLE_F_MULTIPORT (§5.3.3). Without it a console
// has one port, and the port has no name.
const featureMultiport = 1 << 1

// Queues of port 0, then those of control messages (§5.3.2). The names are from
// the driver's point of view.
const (
	queueReceive         = 0
	queueTransmit        = 1
	queueControlReceive  = 2
	queueControlTransmit = 3

	queueSize = 64
)

// queuesOf returns the numbers of the queues of a port.
func queuesOf(id int) (receive, transmit int) {
	if id == 0 {
		return queueReceive, queueTransmit
	}
	return 2*id + 2, 2*id + 3
}

// Layout of the configuration (§5.3.4): cols[2] rows[2] max_nr_ports[4].
const (
	configMaxPorts = 4
	configSize     = 8
)

// Port is a port of the device. The device closes it to the guest at the end of
// its input, or when its output is a pipe without a reader. After any other
// error the device removes the port; programs in the guest then get EIO.
type Port struct {
	Name   string
	Input  *os.File // nil: no input
	Output *os.File // nil: output is discarded; a port with neither file is closed
	Window bool     // the port has the window size that Resize sets
}

// Device is a console.
type Device struct {
	mem    *virtqueue.Memory
	config [configSize]byte
	ports  []*port

	mu         sync.Mutex // guards the fields below and the states of the ports
	cols, rows uint16
	workers    []*device.Worker // nil while stopped
	news       *event.Event     // signalled when a control message is pending; nil while stopped
	drained    sync.Cond        // a port has written its available output, or stopped
}

// New returns a console with ports, numbered from 0. The device does not close
// their files.
func New(mem *virtqueue.Memory, ports ...Port) *Device {
	d := &Device{mem: mem}
	d.drained.L = &d.mu
	binary.LittleEndian.PutUint32(d.config[configMaxPorts:], uint32(len(ports)))
	for i, p := range ports {
		d.ports = append(d.ports, newPort(d, i, p))
	}
	return d
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDConsole }

// Features implements device.Device.
func (d *Device) Features() uint64 { return device.FeaturesOfQueues | featureMultiport }

// Queues implements device.Device.
func (d *Device) Queues() []int {
	n := make([]int, max(2*len(d.ports)+2, queueControlTransmit+1))
	for i := range n {
		n[i] = queueSize
	}
	return n
}

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config[:] }

// SetConfig implements device.Device. The driver can write no field.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	if features&featureMultiport == 0 {
		return errors.New("the driver does not accept the feature MULTIPORT")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var workers []*device.Worker
	var runs []func()
	add := func(i int, run func(w *device.Worker)) (err error) {
		if queues[i].Size == 0 {
			return nil
		}
		w, err := device.NewWorker(d.mem, queues[i], features)
		if err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
		workers = append(workers, w)
		runs = append(runs, func() { run(w) })
		return nil
	}
	err := errors.Join(
		add(queueControlReceive, func(w *device.Worker) { w.Go(bus, func() error { return d.sendAll(w) }) }),
		add(queueControlTransmit, func(w *device.Worker) { w.Run(bus, d.handleControl) }))
	for _, p := range d.ports {
		receive, transmit := queuesOf(p.id)
		p.reset(queues[receive].Kick, queues[transmit].Kick)
		if p.Input != nil && p.state == stateOpen {
			err = errors.Join(err, add(receive, func(w *device.Worker) { w.Go(bus, func() error { return p.receive(w) }) }))
		}
		err = errors.Join(err, add(transmit, func(w *device.Worker) {
			p.draining = true
			w.Each(bus, func() error { return p.transmit(w) })
		}))
	}
	if err != nil {
		return err
	}
	d.workers, d.news = workers, queues[queueControlReceive].Kick
	for _, run := range runs {
		run()
	}
	return nil
}

// Stop implements device.Device. It waits for a write that is in progress.
func (d *Device) Stop() {
	d.mu.Lock()
	workers := d.workers
	d.workers, d.news = nil, nil
	d.mu.Unlock()
	for _, w := range workers {
		w.Stop()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		p.draining = false
	}
	d.drained.Broadcast()
}

// Drain waits until the device has written all output that the guest made
// available before the call. Output that fails counts as written.
func (d *Device) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		if p.draining {
			p.asked++
			p.transmitKick.Signal()
		}
	}
	for _, p := range d.ports {
		for asked := p.asked; p.draining && p.written < asked; {
			d.drained.Wait()
		}
	}
}

// Resize sends the guest the size of the window, in characters.
func (d *Device) Resize(cols, rows uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cols, d.rows = cols, rows
	for _, p := range d.ports {
		if p.Window && p.ready {
			d.post(p, newsWindow)
		}
	}
}
