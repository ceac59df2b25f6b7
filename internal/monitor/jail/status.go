package jail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Request is what a monitor asks of a jail on the status socket. Each kind of jail
// adds what it needs. Both directions of the socket are streams of JSON.
type Request struct {
	UID, GID  int  // to change to; 0: stay
	OwnUser   bool // in a user namespace of its own
	OwnMounts bool // in a mount namespace of its own
}

// NewRequest returns the request to a process that was spawned.
func NewRequest(p *Process, id Identity) Request {
	return Request{
		UID: id.UID, GID: id.GID,
		OwnUser:   p.Namespaces.flags()&unix.CLONE_NEWUSER != 0,
		OwnMounts: p.Namespaces.flags()&unix.CLONE_NEWNS != 0,
	}
}

// Report is a jail's answer. The first report says what the jail obtained. A second
// one comes only if the jail could not execute its program. Then the socket
// closes.
type Report struct {
	Root  string // what the root directory is
	Error string // why nothing will run; empty: it runs
}

// Ask tells a jail what to do and reads its reports, until the jail has executed
// its program. When ctx is done, Ask stops waiting. It returns an error if there was
// no report yet. If there was one, the caller ends what is in the jail.
func Ask(ctx context.Context, status *os.File, request any) (Report, error) {
	stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	line, err := json.Marshal(request)
	if err != nil {
		return Report{}, err
	}
	// If the jail has ended early, its report says more than this error.
	_, writeErr := status.Write(line)
	var last Report
	for n, answers := 0, json.NewDecoder(status); ; n++ {
		var r Report
		err := answers.Decode(&r)
		switch {
		case n > 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)):
			return last, nil
		case err != nil:
			return Report{}, fmt.Errorf("the jail ended early: %w", errors.Join(ctx.Err(), writeErr, err))
		case r.Error != "":
			return Report{}, errors.New(r.Error)
		}
		last = r
	}
}

// Receive reads the request of Ask, in the jail.
func Receive(status int, request any) error {
	if err := json.NewDecoder(fdReader(status)).Decode(request); err != nil {
		return fmt.Errorf("read the monitor's request: %w", err)
	}
	return nil
}

// Tell sends a report.
func Tell(status int, r Report) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = unix.Write(status, line)
	return err
}

// fdReader reads a descriptor without the runtime's poller. The poller would open
// descriptors of its own.
type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, errors.New("the monitor has ended")
		default:
			return n, nil
		}
	}
}
