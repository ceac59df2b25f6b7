package net

import (
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/virtqueue"
)

// NewUser returns a card whose packets another process moves: the vhost-user
// back end at the other end of conn, a connected stream socket. The card owns
// conn, also if NewUser fails. The back end maps the guest's memory mem through
// the files in shared. If the back end hangs up or does not answer in time, the
// device fails.
func NewUser(conn *os.File, mem *virtqueue.Memory, shared []vhostuser.Region, card Config) (*Device, error) {
	client, err := vhostuser.NewClient(conn, shared)
	if err != nil {
		return nil, err
	}
	err = card.check()
	if err == nil && client.Pairs() < card.Pairs {
		err = fmt.Errorf("%d pairs of queues: the back end has %d", card.Pairs, client.Pairs())
	}
	var d *Device
	if err == nil {
		d, err = newDevice(mem, &user{client: client}, card)
	}
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("network card: %w", err)
	}
	return d, nil
}

// user is the dataPath through a vhost-user back end.
type user struct {
	client  *vhostuser.Client
	started []int // queues
}

func (u *user) features() uint64      { return u.client.Features() }
func (u *user) gone() <-chan struct{} { return u.client.Gone() }
func (u *user) err() error            { return u.client.Err() }
func (u *user) descriptor() int       { return u.client.Descriptor() }
func (u *user) close()                { u.client.Close() }

func (u *user) start(features uint64, queues []device.Queue) error {
	if err := u.client.SetFeatures(features & u.features()); err != nil {
		return err
	}
	for i, q := range queues {
		if q.Size == 0 {
			continue
		}
		if err := u.client.StartQueue(i, q.Layout, q.Kick.FD(), q.Call.FD(), i < 2); err != nil {
			return err
		}
		u.started = append(u.started, i)
	}
	return nil
}

func (u *user) enable(pair int, on bool) error {
	for i := 2 * pair; i < 2*pair+2; i++ {
		if err := u.client.Enable(i, on); err != nil {
			return err
		}
	}
	return nil
}

func (u *user) stop() {
	for _, i := range u.started {
		if u.client.StopQueue(i) != nil {
			break // the back end is gone, and no longer uses any queue
		}
	}
	u.started = u.started[:0]
}
