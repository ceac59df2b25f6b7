package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxBatch is the number of readings that go in one request or datagram: as
// lines they fit in an Ethernet frame.
const maxBatch = 10

// Sender delivers readings to a collector.
type Sender interface {
	Send(ctx context.Context, batch []Reading) error
}

// NewSender makes the sender for a collector's URL.
func NewSender(to string) (Sender, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme == "udp" && u.Port() != "":
		return udpSender(u.Host), nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return httpSender(to), nil
	}
	return nil, fmt.Errorf("collector %q: want udp://HOST:PORT or http://HOST:PORT/PATH; give it with -to", to)
}

// udpSender sends lines. Whether they arrive is not known: that is UDP.
type udpSender string

func (addr udpSender) Send(ctx context.Context, batch []Reading) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", string(addr))
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, r := range batch {
		fmt.Fprintln(&lines, r.Line())
	}
	_, err = c.Write(lines.Bytes())
	return errors.Join(err, c.Close())
}

// httpSender posts JSON and takes any status of 2xx as received.
type httpSender string

func (url httpSender) Send(ctx context.Context, batch []Reading) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(url), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err // the connection could not be used again
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", string(url), res.Status)
	}
	return nil
}

// Outbox keeps readings until they are sent. When it is full, the oldest
// make way: the newest say most.
type Outbox struct {
	sender Sender
	limit  int
	wait   []Reading
	sent   int
	lost   int
}

// NewOutbox keeps at most limit readings.
func NewOutbox(s Sender, limit int) *Outbox { return &Outbox{sender: s, limit: limit} }

// Add takes a reading to be sent.
func (o *Outbox) Add(r Reading) {
	if len(o.wait) == o.limit {
		o.wait = o.wait[1:]
		o.lost++
	}
	o.wait = append(o.wait, r)
}

// Flush sends all that waits, in order, until something cannot be sent or ctx
// ends. A batch under way is not broken off: what the collector has received
// already would then be sent again.
func (o *Outbox) Flush(ctx context.Context) error {
	for len(o.wait) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(o.wait), maxBatch)
		if err := o.sender.Send(context.WithoutCancel(ctx), o.wait[:n]); err != nil {
			return err
		}
		o.wait = o.wait[n:]
		o.sent += n
	}
	return nil
}

// Len is the number of readings that wait.
func (o *Outbox) Len() int { return len(o.wait) }

// Sent is the number of readings that were sent.
func (o *Outbox) Sent() int { return o.sent }

// Lost is the number of readings that made way for newer ones.
func (o *Outbox) Lost() int { return o.lost }
