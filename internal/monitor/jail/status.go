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

// Request is what a monitor asks of a jail, on the status socket, with what its
// kind of jail needs besides. Each end of the socket is a stream of JSON.
type Request struct {
	UID, GID  int  // to change to; 0: stay
	OwnUser   bool // in a user namespace of its own
	OwnMounts bool // in a mount namespace of its own
}

// NewRequest is the request to a process that was spawned.
func NewRequest(p *Process, id Identity) Request {
	return Request{
		UID: id.UID, GID: id.GID,
		OwnUser:   p.Namespaces.flags()&unix.CLONE_NEWUSER != 0,
		OwnMounts: p.Namespaces.flags()&unix.CLONE_NEWNS != 0,
	}
}

// Report is a jail's answer. The first one says what it obtained; a second one
// comes only when what is to be in the jail could not be executed. Then the
// socket closes.
type Report struct {
	Root  string // what is there for a root directory
	Error string // when nothing will run
}

// Ask tells a jail what to do and reads its answers, until it has executed what
// is to be in it. When ctx is done it does not wait any more: with an error if
// nothing was reported yet, else what is in the jail is the caller's to end.
func Ask(ctx context.Context, status *os.File, request any) (Report, error) {
	stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	line, err := json.Marshal(request)
	if err != nil {
		return Report{}, err
	}
	// When the jail has ended early, its answer says more than this error.
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

// Receive is the jail's end of Ask: it reads the request.
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

// fdReader reads a descriptor without the runtime's poller, which would open
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
