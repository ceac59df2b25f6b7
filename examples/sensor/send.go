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

// maxBatch is the number of readings in one request or datagram. In line
// protocol they fit in an Ethernet frame.
const maxBatch = 10

// Sender sends readings to a collector.
type Sender interface {
	Send(ctx context.Context, batch []Reading) error
}

// NewSender returns the sender for the URL of a collector.
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
	return nil, fmt.Errorf("collector %q: want udp://HOST:PORT or http://HOST:PORT/PATH; specify it with -to", to)
}

// udpSender sends readings in line protocol. With UDP it cannot know whether
// they arrive.
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

// httpSender sends readings as JSON. Every status 2xx is a success.
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
		return err // the connection cannot be reused
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", string(url), res.Status)
	}
	return nil
}

// Outbox keeps readings until they are sent. If it is full, it drops the
// oldest, because the newest are the most useful.
type Outbox struct {
	sender Sender
	limit  int
	wait   []Reading
	sent   int
	lost   int
}

// NewOutbox returns an outbox for at most limit readings.
func NewOutbox(s Sender, limit int) *Outbox { return &Outbox{sender: s, limit: limit} }

// Add adds a reading.
func (o *Outbox) Add(r Reading) {
	if len(o.wait) == o.limit {
		o.wait = o.wait[1:]
		o.lost++
	}
	o.wait = append(o.wait, r)
}

// Flush sends the waiting readings in order, until one cannot be sent or ctx
// ends. It does not cancel a batch in flight: the collector may already have
// received it, and would get it twice.
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

// Len returns the number of readings that wait.
func (o *Outbox) Len() int { return len(o.wait) }

// Sent returns the number of readings that were sent.
func (o *Outbox) Sent() int { return o.sent }

// Lost returns the number of readings that were dropped.
func (o *Outbox) Lost() int { return o.lost }
