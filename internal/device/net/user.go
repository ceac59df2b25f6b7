package net

import (
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/virtqueue"
)

// NewUser is a card whose packets another process moves, the vhost-user back end
// at the other end of conn, a connected stream socket that the card owns, also
// when it fails. The back end maps the guest's memory mem by the files in
// shared. When it hangs up, or does not answer, the device has failed.
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
		d, err = newDevice(mem, &user{Client: client}, card)
	}
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("network card: %w", err)
	}
	return d, nil
}

// user is a vhost-user back end.
type user struct {
	*vhostuser.Client
	started []int // queues
}

func (u *user) features() uint64      { return u.Features() }
func (u *user) gone() <-chan struct{} { return u.Gone() }
func (u *user) err() error            { return u.Err() }
func (u *user) close()                { u.Close() }

func (u *user) start(features uint64, queues []device.Queue) error {
	if err := u.SetFeatures(features & u.Features()); err != nil {
		return err
	}
	for i, q := range queues {
		if q.Size == 0 {
			continue
		}
		if err := u.StartQueue(i, q.Layout, q.Kick.FD(), q.Call.FD(), i < 2); err != nil {
			return err
		}
		u.started = append(u.started, i)
	}
	return nil
}

func (u *user) enable(pair int, on bool) error {
	for i := 2 * pair; i < 2*pair+2; i++ {
		if err := u.Enable(i, on); err != nil {
			return err
		}
	}
	return nil
}

func (u *user) stop() {
	for _, i := range u.started {
		if u.StopQueue(i) != nil {
			break // it is gone, and its queues with it
		}
	}
	u.started = u.started[:0]
}
