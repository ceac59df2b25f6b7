// Package console is a virtio console of several ports (virtio 1.2 §5.3): names
// for streams of bytes between the guest and files of the host, which a monitor
// gives. Each port has goroutines of its own, for none is to wait for another's
// slow reader; a goroutine waits in read(2) or write(2) itself, because files
// that belong to others, too, must not be made non-blocking.
//
// Nothing is read of a file before the guest has a buffer for it, and bytes go
// straight between the file and the guest's memory. A buffer of output comes
// back when its bytes are written.
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

// featureMultiport is VIRTIO_CONSOLE_F_MULTIPORT (§5.3.3). Without it there
// would be one port, without a name.
const featureMultiport = 1 << 1

// Queues of port 0, then of control messages (§5.3.2). They are named for the
// driver: it receives by the one, and transmits by the other.
const (
	queueReceive         = 0
	queueTransmit        = 1
	queueControlReceive  = 2
	queueControlTransmit = 3

	queueSize = 64
)

// queuesOf are the queues of a port.
func queuesOf(id int) (receive, transmit int) {
	if id == 0 {
		return queueReceive, queueTransmit
	}
	return 2*id + 2, 2*id + 3
}

// The configuration (§5.3.4): cols[2] rows[2] max_nr_ports[4].
const (
	configMaxPorts = 4
	configSize     = 8
)

// Port is a port of the device. It is closed to the guest once its input has
// ended, or its output is a pipe that nobody reads any more; after any other
// error it is removed, and what the program does with it is EIO.
type Port struct {
	Name   string
	Input  *os.File // nil: none comes
	Output *os.File // nil: nowhere; a port with neither file is closed
	Window bool     // it has the size that Resize says
}

// Device is the console.
type Device struct {
	mem    *virtqueue.Memory
	config [configSize]byte
	ports  []*port

	mu         sync.Mutex // guards what follows, and the states of ports
	cols, rows uint16
	workers    []*device.Worker // nil: stopped
	news       *event.Event     // there is something to tell; nil: stopped
	drained    sync.Cond        // a port has written what there was, or stopped
}

// New is a console with ports, numbered from 0. It does not close their files.
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

// SetConfig implements device.Device.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	if features&featureMultiport == 0 {
		return errors.New("the driver does not know consoles of several ports")
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
		add(queueControlReceive, func(w *device.Worker) { w.Go(bus, func() error { return d.tellAll(w) }) }),
		add(queueControlTransmit, func(w *device.Worker) { w.Run(bus, d.hear) }))
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

// Stop implements device.Device. It waits for a write that is going on.
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

// Drain waits until all output that the guest has made available before the
// call is written, or has failed to be.
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

// Resize tells the guest the size of the window, in characters.
func (d *Device) Resize(cols, rows uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cols, d.rows = cols, rows
	for _, p := range d.ports {
		if p.Window && p.ready {
			d.tell(p, newsWindow)
		}
	}
}
