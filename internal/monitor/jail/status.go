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

// Request is the monitor's message to a jail on the status socket. Each kind of jail
// embeds it and adds fields. Both directions of the socket are streams of JSON.
type Request struct {
	UID, GID  int  // the jail changes to these; 0: no change
	OwnUser   bool // the jail has its own user namespace
	OwnMounts bool // the jail has its own mount namespace
}

// NewRequest returns the request to the spawned process p.
func NewRequest(p *Process, id Identity) Request {
	return Request{
		UID: id.UID, GID: id.GID,
		OwnUser:   p.Namespaces.flags()&unix.CLONE_NEWUSER != 0,
		OwnMounts: p.Namespaces.flags()&unix.CLONE_NEWNS != 0,
	}
}

// Report is a jail's answer. The first report describes the confinement. A second report
// follows only if the jail could not execute its program. Then the socket closes.
type Report struct {
	Root  string // description of the root directory
	Error string // why the program does not run; empty: it runs
}

// Ask sends the request to a jail and reads its reports until the jail has executed its
// program. When ctx is done, Ask stops waiting. It returns an error if there was no report
// before. If there was one, the caller must end the process in the jail.
func Ask(ctx context.Context, status *os.File, request any) (Report, error) {
	stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	line, err := json.Marshal(request)
	if err != nil {
		return Report{}, err
	}
	// If the jail has ended early, its report explains more than this error.
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

// Receive reads the request of Ask. The jail calls it.
func Receive(status int, request any) error {
	if err := json.NewDecoder(fdReader(status)).Decode(request); err != nil {
		return fmt.Errorf("read the monitor's request: %w", err)
	}
	return nil
}

// SendReport sends a report to the monitor. The jail calls it.
func SendReport(status int, r Report) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = unix.Write(status, line)
	return err
}

// fdReader reads a descriptor without the runtime's poller, which would open more
// descriptors.
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
