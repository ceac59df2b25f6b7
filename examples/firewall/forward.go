package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout is how long an upstream may take to accept a connection.
const dialTimeout = 5 * time.Second

// maxFlows limits the state table of a UDP forward.
const maxFlows = 4096

// forwardTCP accepts connections until ctx ends. It connects those that the
// policy admits with the upstream.
func forwardTCP(ctx context.Context, f *Forward, p *Policy) error {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(int(f.Port)))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { closeAll(l) })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		flow := Flow{TCP, c.RemoteAddr().(*net.TCPAddr).AddrPort(), f.Port}
		if !p.Admit(flow, time.Now()) {
			refuse(c.(*net.TCPConn))
			continue
		}
		f.Flows.Add(1)
		wg.Go(func() { join(ctx, f, c) })
	}
}

// refuse resets a connection, like the reject target of a packet filter.
func refuse(c *net.TCPConn) {
	if err := c.SetLinger(0); err != nil {
		log.Printf("reset %v: %v", c.RemoteAddr(), err)
	}
	closeAll(c)
}

// join copies data both ways until both directions have ended or ctx ends.
func join(ctx context.Context, f *Forward, c net.Conn) {
	f.Open.Add(1)
	defer f.Open.Add(-1)
	dialer := net.Dialer{Timeout: dialTimeout}
	up, err := dialer.DialContext(ctx, "tcp", f.Upstream)
	if err != nil {
		f.Failed.Add(1)
		log.Printf("forward %v: %v", f, err)
		refuse(c.(*net.TCPConn))
		return
	}
	defer context.AfterFunc(ctx, func() { closeAll(c, up) })()
	var wg sync.WaitGroup
	wg.Go(func() { carry(up, c, &f.In) })
	wg.Go(func() { carry(c, up, &f.Out) })
	wg.Wait()
	closeAll(c, up)
}

// carry copies data until the end of from, and then closes the sending side of
// to. If it fails, it closes both connections, which ends the other direction
// too.
func carry(to, from net.Conn, count *atomic.Int64) {
	n, err := io.Copy(to, from)
	count.Add(n)
	if err == nil {
		err = to.(*net.TCPConn).CloseWrite()
	}
	if err != nil {
		closeAll(to, from)
	}
}

// closeAll closes connections. It ignores those that are already closed.
func closeAll(list ...io.Closer) {
	for _, c := range list {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Printf("close: %v", err)
		}
	}
}

// table holds the flows of a UDP forward by source address.
type table struct {
	forward *Forward
	outside *net.UDPConn
	idle    time.Duration

	mu    sync.Mutex
	flows map[netip.AddrPort]*net.UDPConn
	wg    sync.WaitGroup
}

// forwardUDP forwards datagrams until ctx ends: those of known flows, and those
// of new flows that the policy admits. A flow ends when no datagram arrives for
// idle.
func forwardUDP(ctx context.Context, f *Forward, p *Policy, idle time.Duration) error {
	c, err := net.ListenPacket("udp", ":"+strconv.Itoa(int(f.Port)))
	if err != nil {
		return err
	}
	t := &table{forward: f, outside: c.(*net.UDPConn), idle: idle, flows: make(map[netip.AddrPort]*net.UDPConn)}
	defer context.AfterFunc(ctx, t.close)()
	defer t.wg.Wait()
	buf := make([]byte, 65536)
	for {
		n, from, err := t.outside.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if up := t.flow(from, p); up != nil {
			t.send(up, buf[:n])
		}
	}
}

// flow returns the upstream connection of the flow from a source. It returns
// nil if the flow is not admitted.
func (t *table) flow(from netip.AddrPort, p *Policy) *net.UDPConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if up, ok := t.flows[from]; ok {
		return up
	}
	if len(t.flows) >= maxFlows || !p.Admit(Flow{UDP, from, t.forward.Port}, time.Now()) {
		return nil
	}
	c, err := net.Dial("udp", t.forward.Upstream)
	if err != nil {
		t.forward.Failed.Add(1)
		log.Printf("forward %v: %v", t.forward, err)
		return nil
	}
	up := c.(*net.UDPConn)
	t.flows[from] = up
	t.forward.Flows.Add(1)
	t.forward.Open.Add(1)
	t.wg.Go(func() { t.answer(from, up) })
	return up
}

// send forwards one datagram. It ignores a failed write: UDP may lose
// datagrams.
func (t *table) send(up *net.UDPConn, data []byte) {
	if err := up.SetReadDeadline(time.Now().Add(t.idle)); err != nil {
		return // the flow has just ended
	}
	if n, err := up.Write(data); err == nil {
		t.forward.In.Add(int64(n))
	}
}

// answer forwards the datagrams of the upstream until the flow is idle.
func (t *table) answer(from netip.AddrPort, up *net.UDPConn) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.flows, from)
		t.forward.Open.Add(-1)
		closeAll(up)
	}()
	buf := make([]byte, 65536)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return // idle, refused by the upstream, or closed
		}
		if n, err = t.outside.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return
		}
		t.forward.Out.Add(int64(n))
		if up.SetReadDeadline(time.Now().Add(t.idle)) != nil {
			return
		}
	}
}

// close ends the forward and all its flows.
func (t *table) close() {
	closeAll(t.outside)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, up := range t.flows {
		closeAll(up)
	}
}
