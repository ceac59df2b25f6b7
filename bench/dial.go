package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/pith-os/pith/conformance/harness"
)

// dialFigure: a program's connections to a server on the host. The program takes the
// time itself. The server is in this process.
var dialFigure = figure{
	name:    "dial",
	what:    "connections that the program makes, against the plain binary",
	goal:    "2,000 short ones in 1.5 times; 1 GB each way at 0.95; requests at 0.9; datagrams at 0.7 of plain",
	measure: measureDial,
}

func measureDial(b *bench) ([]line, error) {
	s, err := startPeer()
	if err != nil {
		return nil, err
	}
	defer s.close()
	var lines []line
	for _, part := range []struct {
		label, unit, mode, addr string
		n                       int
		met                     func(float64) bool
	}{
		{"2,000 short connections", "s", "short", s.tcp, 2000, func(r float64) bool { return r <= 1.5 }},
		{"1 GB out", "bytes/s", "send", s.tcp, 1 << 30, func(r float64) bool { return r >= 0.95 }},
		{"1 GB in", "bytes/s", "receive", s.tcp, 1 << 30, func(r float64) bool { return r >= 0.95 }},
		{"requests, 16 at once", "requests/s", "requests", "http://${host}:" + s.http, 20_000, func(r float64) bool { return r >= 0.9 }},
		{"datagrams back and forth", "datagrams/s", "datagrams", s.udp, 20_000, func(r float64) bool { return r >= 0.7 }},
		{"the same, not connected", "datagrams/s", "unconnected", s.udp, 20_000, func(r float64) bool { return r >= 0.7 }},
	} {
		addr := part.addr
		if !strings.Contains(addr, "${host}") {
			addr = "${host}:" + addr
		}
		program := harness.Program{Package: "./bench/programs/dial", Args: []string{part.mode, addr, strconv.Itoa(part.n)}}
		all, err := b.alternate(b.contestants("pith", harness.HostNetwork.Name, harness.HostNetworkChecked.Name, "plain"), func(m harness.Monitor) (float64, error) {
			out, err := b.output(m, program)
			if err != nil {
				return 0, err
			}
			return strconv.ParseFloat(strings.TrimSpace(out), 64)
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.label, err)
		}
		l := newLine(part.label, part.unit, all)
		l.compare("plain", part.met)
		l.compareOne(harness.HostNetwork.Name, "plain", part.met)
		l.compareOne(harness.HostNetworkChecked.Name, "plain", part.met)
		lines = append(lines, l)
	}
	return lines, nil
}

// peer is the other side of command dial. Its fields are ports of the host's loopback
// interface.
type peer struct {
	tcp, http, udp string
	listening      []io.Closer
}

func startPeer() (*peer, error) {
	s := new(peer)
	listen := func(serve func(net.Listener)) (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		s.listening = append(s.listening, l)
		go serve(l)
		return portOf(l.Addr()), nil
	}
	var err error
	if s.tcp, err = listen(serveBytes); err != nil {
		return nil, err
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") })
	if s.http, err = listen(func(l net.Listener) { http.Serve(l, hello) }); err != nil {
		s.close()
		return nil, err
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.close()
		return nil, err
	}
	s.listening = append(s.listening, pc)
	s.udp = portOf(pc.LocalAddr())
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	}()
	return s, nil
}

func (s *peer) close() {
	for _, l := range s.listening {
		l.Close()
	}
}

func portOf(a net.Addr) string {
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		panic(err) // the address of a listener has a port
	}
	return port
}

// serveBytes serves connections that begin with what they want: an echo of one byte, a
// sink, or a source.
func serveBytes(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			what := make([]byte, 1)
			if _, err := io.ReadFull(c, what); err != nil {
				return
			}
			block := make([]byte, 256<<10)
			switch what[0] {
			case 'e':
				c.Write(what)
				c.Read(what) // the client closes first
			case 'd':
				io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, block)
			case 's':
				for {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}
		}()
	}
}
