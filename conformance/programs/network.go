package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tcpPair is a connection to ourselves: the accepted end and the dialed one.
func tcpPair() (server, client *net.TCPConn) {
	l := must(net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	client = must(net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)))
	server = must(l.AcceptTCP())
	check(l.Close())
	return server, client
}

// plain is an error's text without the ports that the machine chose.
func plain(err error) string {
	if err == nil {
		return "no error"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Sprint(op.Op, " ", op.Net, ": ", op.Err, ", timeout ", op.Timeout())
	}
	return err.Error()
}

func tcp() {
	for _, network := range []string{"tcp4", "tcp6"} {
		host := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
		l := must(net.Listen(network, host))
		done := make(chan string)
		go func() {
			c := must(l.Accept()).(*net.TCPConn)
			data := must(io.ReadAll(c)) // until the client's half-close
			fmt.Fprintf(c, "%x", sha256.Sum256(data))
			check(c.Close())
			done <- fmt.Sprint(len(data))
		}()
		c := must(net.Dial(network, l.Addr().String())).(*net.TCPConn)
		check(c.SetNoDelay(true))
		check(c.SetKeepAlive(true))
		check(c.SetKeepAlivePeriod(time.Minute))
		must(c.Write([]byte(strings.Repeat("data", 1<<18))))
		check(c.CloseWrite())
		show(network, string(must(io.ReadAll(c))), <-done)
		show("same ends", c.RemoteAddr().String() == l.Addr().String())
		show("close", c.Close(), plain(c.Close()))
		show("closed listener", l.Close(), plain(second(l.Accept())))
		show("refused", plain(second(net.Dial(network, l.Addr().String()))))
	}

	server, client := tcpPair()
	check(server.SetReadDeadline(time.Now().Add(5 * time.Millisecond)))
	show("deadline", plain(second(server.Read(make([]byte, 1)))))
	check(server.SetReadDeadline(time.Time{}))
	check(server.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)))
	show("nobody reads", plain(second(server.Write(make([]byte, 64<<20)))))
	check(client.SetLinger(0))
	check(client.Close()) // resets
	show("reset", plain(second(server.Read(make([]byte, 1)))))
	check(server.Close())

	server, client = tcpPair()
	check(client.Close())
	n, err := server.Read(make([]byte, 1))
	show("end", n, err)
	check(server.Close())

	server, client = tcpPair()
	blocked := make(chan string)
	go func() { blocked <- plain(second(server.Read(make([]byte, 1)))) }()
	time.Sleep(time.Millisecond)
	check(server.Close())
	show("closed while reading", <-blocked)
	check(client.Close())

	// Two listeners on one port only where both ask for it.
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	show("in use", plain(second(net.Listen("tcp", l.Addr().String()))))
	check(l.Close())
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var opt error
		err := c.Control(func(fd uintptr) {
			opt = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 0xf /* SO_REUSEPORT */, 1)
		})
		return errors.Join(err, opt)
	}}
	a := must(reuse.Listen(context.Background(), "tcp", "127.0.0.1:0"))
	b, err := reuse.Listen(context.Background(), "tcp", a.Addr().String())
	show("shared port", plain(err))
	check(errors.Join(a.Close(), b.Close()))

	// Many at once.
	l = must(net.Listen("tcp", "localhost:0"))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, err := io.Copy(c, c)
				check(errors.Join(err, c.Close()))
			}()
		}
	}()
	var wg sync.WaitGroup
	results := make([]string, 100)
	for i := range results {
		wg.Go(func() {
			c := must(net.Dial("tcp", l.Addr().String())).(*net.TCPConn)
			fmt.Fprint(c, "caller ", i)
			check(c.CloseWrite())
			results[i] = string(must(io.ReadAll(c)))
			check(c.Close())
		})
	}
	wg.Wait()
	check(l.Close())
	slices.Sort(results)
	show("many", len(slices.Compact(results)), results[0], results[99])
}

func udp() {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		server := must(net.ListenPacket("udp", addr)).(*net.UDPConn)
		client := must(net.Dial("udp", server.LocalAddr().String())).(*net.UDPConn)
		must(client.Write([]byte("ping")))
		b := make([]byte, 1500)
		n, from, err := server.ReadFromUDPAddrPort(b)
		show("got", string(b[:n]), from.Addr().Unmap().IsLoopback(), err)
		must(server.WriteToUDPAddrPort([]byte("pong"), from))
		show("back", string(b[:must(client.Read(b))]))
		must(client.Write(nil))
		n, _, err = server.ReadFromUDP(b)
		show("empty", n, err)
		must(client.Write([]byte("a long message")))
		n, _, err = server.ReadFromUDP(b[:6])
		show("cut short", n, string(b[:n]), err)
		must(client.Write(make([]byte, 60_000)))
		n, _, err = server.ReadFromUDP(make([]byte, 65536))
		show("large", n, err)
		show("too large", plain(second(client.Write(make([]byte, 70_000)))))
		check(server.SetReadDeadline(time.Now().Add(2 * time.Millisecond)))
		show("deadline", plain(second(server.Read(b))))
		check(server.Close())
		must(client.Write([]byte("x")))
		check(client.SetReadDeadline(time.Now().Add(5 * time.Second)))
		show("nobody there", plain(second(client.Read(b))))
		check(client.Close())
	}
}

func unixSockets() {
	scratch()
	l := must(net.Listen("unix", "sock"))
	show("type", must(os.Stat("sock")).Mode().Type())
	show("in use", plain(second(net.Listen("unix", "sock"))))
	go func() {
		c := must(l.Accept())
		must(io.Copy(c, c))
		check(c.Close())
	}()
	c := must(net.Dial("unix", "sock")).(*net.UnixConn)
	must(c.Write([]byte("through the file system")))
	check(c.CloseWrite())
	show("echo", string(must(io.ReadAll(c))), c.RemoteAddr())
	check(errors.Join(c.Close(), l.Close()))
	show("removed", second(os.Stat("sock")))
	show("missing", plain(second(net.Dial("unix", "sock"))))

	a := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "a", Net: "unixgram"}))
	b := must(net.DialUnix("unixgram", &net.UnixAddr{Name: "b", Net: "unixgram"}, &net.UnixAddr{Name: "a", Net: "unixgram"}))
	must(b.Write([]byte("datagram")))
	buf := make([]byte, 100)
	n, from, err := a.ReadFrom(buf)
	show("datagram", string(buf[:n]), from, err)
	check(errors.Join(a.Close(), b.Close()))

	l = must(net.Listen("unix", "@abstract-of-pith"))
	go func() {
		c := must(l.Accept())
		must(c.Write([]byte("no file")))
		check(c.Close())
	}()
	c2 := must(net.Dial("unix", "@abstract-of-pith"))
	show("abstract", string(must(io.ReadAll(c2))))
	check(errors.Join(c2.Close(), l.Close()))

	pair := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0))
	must(syscall.Write(pair[0], []byte("one")))
	must(syscall.Write(pair[0], []byte("two")))
	n = must(syscall.Read(pair[1], buf))
	show("packet", string(buf[:n]))
	n = must(syscall.Read(pair[1], buf))
	show("packet", string(buf[:n]))
	check(syscall.Close(pair[0]))
	n, err = syscall.Read(pair[1], buf)
	show("end", n, err)
	check(syscall.Close(pair[1]))
}

// names: what is answered without any server.
func names() {
	ctx := context.Background()
	addrs := must(net.DefaultResolver.LookupNetIP(ctx, "ip4", "localhost"))
	show("localhost", addrs)
	show("literal", must(net.LookupHost("::1")), must(net.LookupHost("192.0.2.7")))
	show("port", must(net.LookupPort("tcp", "https")), must(net.LookupPort("udp", "domain")))
	show("unknown port", second(net.LookupPort("tcp", "no-such-service")))
	show("resolve", must(net.ResolveTCPAddr("tcp4", "localhost:http")))
	show("bad name", second(net.LookupHost("")))
}

func interfaces() {
	lo := must(net.InterfaceByName("lo"))
	show("lo", lo.Index, lo.Flags&net.FlagUp != 0, lo.Flags&net.FlagLoopback != 0, len(lo.HardwareAddr))
	var found []string
	for _, a := range must(lo.Addrs()) {
		found = append(found, a.String())
	}
	show("addresses", slices.Contains(found, "127.0.0.1/8"))
	all := must(net.InterfaceAddrs())
	show("all", len(all) >= len(found))
	show("missing", second(net.InterfaceByName("none0")))
	show("by index", must(net.InterfaceByIndex(lo.Index)).Name)
}
