// Command peer is a program for tests of --net host. Each of its commands prints what a
// program sees of its network.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	commands := map[string]func(args []string) error{
		"serve": serve, "dial": dial, "tcp": tcp, "twice": twice, "interfaces": interfaces, "watch": watch, "options": options,
		"multicast": multicast, "many": many, "send": send,
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// serve serves TCP and UDP at ADDRESS:PORT, and tells each client how it sees the connection.
// With a second argument, TCP is for redirected connections: redirect or transparent.
func serve(args []string) error {
	how := append(args, "")[1]
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if how != "transparent" {
			return nil
		}
		return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
	}}
	l, err := lc.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", args[0])
	if err != nil {
		return err
	}
	udp := pc.(*net.UDPConn)
	if err := packetInfo(udp); err != nil {
		return err
	}
	go func() {
		b, oob := make([]byte, 2000), make([]byte, 200)
		for {
			n, on, _, from, err := udp.ReadMsgUDPAddrPort(b, oob)
			if err != nil {
				return
			}
			// The control message of the request chooses the address of the answer.
			answer := fmt.Sprintf("%s from %s to %s", b[:n], from.Addr().Unmap(), destination(oob[:on]))
			if _, _, err := udp.WriteMsgUDPAddrPort([]byte(answer), oob[:on], from); err != nil {
				fmt.Println("answer:", err)
			}
		}
	}()
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			local := c.LocalAddr().String()
			if how == "redirect" {
				local = originalDestination(c.(*net.TCPConn))
			}
			fmt.Fprintf(c, "from %s to %s\n", host(c.RemoteAddr()), local)
			_, _ = io.Copy(c, c)
		}()
	}
}

// dial talks to servers by TCP and UDP, and prints what both sides see.
func dial(args []string) error {
	for _, to := range args {
		fmt.Printf("tcp %s: %s\n", to, dialTCP(to))
		fmt.Printf("udp %s: %s\n", to, dialUDP(to))
		pc, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		at := netip.MustParseAddrPort(to)
		fmt.Printf("unconnected %s: %s\n", to, ask(pc, func() (int, error) { return pc.WriteToUDPAddrPort([]byte("hello"), at) }))
		pc.Close()
	}
	return nil
}

// tcp is dial by TCP alone.
func tcp(args []string) error {
	for _, to := range args {
		fmt.Printf("tcp %s: %s\n", to, dialTCP(to))
	}
	return nil
}

func dialTCP(to string) string {
	c, err := net.Dial("tcp", to)
	if err != nil {
		return inner(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		return inner(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return inner(err)
	}
	said, err := io.ReadAll(c)
	return fmt.Sprintf("%s to %s: %q, %v", host(c.LocalAddr()), c.RemoteAddr(), said, err)
}

func dialUDP(to string) string {
	c, err := net.Dial("udp", to)
	if err != nil {
		return inner(err)
	}
	defer c.Close()
	return fmt.Sprintf("%s to %s: %s", host(c.LocalAddr()), c.RemoteAddr(), ask(c, func() (int, error) { return c.Write([]byte("hello")) }))
}

// ask sends a datagram and returns the answer.
func ask(c net.Conn, send func() (int, error)) string {
	if _, err := send(); err != nil {
		return inner(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return inner(err)
	}
	b := make([]byte, 200)
	n, err := c.Read(b)
	if err != nil {
		return inner(err)
	}
	return string(b[:n])
}

// inner returns the error of the system call.
func inner(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// twice takes ports that are taken.
func twice(args []string) error {
	for _, network := range []string{"tcp", "udp"} {
		for range 2 {
			var err error
			if network == "tcp" {
				_, err = net.Listen(network, args[0])
			} else {
				_, err = net.ListenPacket(network, args[0])
			}
			fmt.Println(network, err)
		}
	}
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		return err
	}
	_, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", l.Addr().(*net.TCPAddr).Port))
	fmt.Println("both families:", err != nil)
	return nil
}

func interfaces([]string) error {
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		fmt.Println(i.Index, i.Name, i.MTU, i.Flags, addrs, err)
	}
	for _, name := range []string{"route", "ipv6_route", "if_inet6"} {
		b, err := os.ReadFile("/proc/net/" + name)
		fmt.Printf("%s: %s %v\n", name, b, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFMTU, ifr)
	fmt.Println("lo has", ifr.Uint32(), err)
	name, err := os.Hostname()
	fmt.Println(name, err)
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf", "/proc/sys/net/ipv4/ip_local_port_range"} {
		b, err := os.ReadFile(file)
		fmt.Printf("%q %v\n", b, err)
	}
	return nil
}

// watch prints the next address that an interface gets.
func watch([]string) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR}); err != nil {
		return err
	}
	fmt.Println("ready")
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return err
	}
	list, err := syscall.ParseNetlinkMessage(b[:n])
	if err != nil || len(list) == 0 || list[0].Header.Type != unix.RTM_NEWADDR {
		return fmt.Errorf("%v, %v", list, err)
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(&list[0])
	if err != nil {
		return err
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFA_LOCAL {
			fmt.Println("new", net.IP(a.Value))
		}
	}
	return nil
}

// options sets options before a socket is used, after, and ones that no image may set.
func options(args []string) error {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		fd, err := unix.Socket(unix.AF_INET, typ, 0)
		if err != nil {
			return err
		}
		for _, o := range []struct {
			name         string
			level, name2 int
			value        int
		}{
			{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
			{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
			{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, 77},
			{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 20000},
			{"IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT, 1},
			{"IP_TTL", unix.SOL_IP, unix.IP_TTL, 9},
			{"IP_TTL of 900", unix.SOL_IP, unix.IP_TTL, 900},
			{"TCP_NODELAY", unix.SOL_TCP, unix.TCP_NODELAY, 1},
			{"IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, 1},
			{"UDP_GRO", unix.SOL_UDP, unix.UDP_GRO, 1},
			{"no option", unix.SOL_SOCKET, 9999, 1},
		} {
			set := unix.SetsockoptInt(fd, o.level, o.name2, o.value)
			value, err := unix.GetsockoptInt(fd, o.level, o.name2)
			fmt.Println(o.name, set, value, err)
		}
		fmt.Println("SO_BINDTODEVICE", unix.BindToDevice(fd, "lo"), unix.BindToDevice(fd, "none"))
		fmt.Println("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: 8077, Addr: [4]byte{127, 0, 0, 1}}))
		fmt.Println("bind again", unix.Bind(fd, &unix.SockaddrInet4{Port: 8078, Addr: [4]byte{127, 0, 0, 1}}))
		fmt.Println("SO_PRIORITY", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 3))
		sa, err := unix.Getsockname(fd)
		fmt.Println(sa.(*unix.SockaddrInet4).Port, err)
		_, err = unix.Getpeername(fd)
		fmt.Println(err)
		if typ == unix.SOCK_STREAM {
			fmt.Println("listen", unix.Listen(fd, 5))
			_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			fmt.Println(err)
		}
		fmt.Println("close", unix.Close(fd))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	fmt.Println(err, unix.Bind(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{203, 0, 113, 1}}), unix.Bind(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{127, 0, 0, 1}}))
	return nil
}

// multicast receives what it sends to a group.
func multicast([]string) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	group := &net.UDPAddr{IP: net.IPv4(239, 1, 1, 1), Port: 8076}
	l, err := net.ListenMulticastUDP("udp4", lo, group)
	if err != nil {
		return err
	}
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, group)
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte("to all")); err != nil {
		return err
	}
	if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, from, err := l.ReadFromUDP(b)
	if err != nil {
		return err
	}
	fmt.Printf("%s from %s\n", b[:n], from.IP)
	return nil
}

// many opens many connections to a server at a time.
func many(args []string) error {
	var all []net.Conn
	for range 300 {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	for _, c := range all {
		if _, err := io.WriteString(c, "x"); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(b), "\nx") {
			return fmt.Errorf("%q, %v", b, err)
		}
		c.Close()
	}
	fmt.Println("all", len(all))
	return nil
}

// send sends datagrams to addresses, and prints the error of each.
func send(args []string) error {
	pc, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	for _, to := range args {
		_, err := pc.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(to))
		fmt.Println(to, err != nil && errors.Is(err, syscall.ECONNREFUSED), err == nil)
	}
	_, err = pc.WriteToUDPAddrPort(make([]byte, 65508), netip.MustParseAddrPort("127.0.0.1:9"))
	fmt.Println("too long:", errors.Is(err, syscall.EMSGSIZE))
	return nil
}

func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

// packetInfo asks for the destination of each datagram.
func packetInfo(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		if strings.HasPrefix(c.LocalAddr().String(), "[") {
			if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
				return err
			}
			return nil
		}
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1)
	})
}

// destination returns the address in the control message of a datagram.
func destination(oob []byte) string {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(list) != 1 {
		return fmt.Sprint(len(list), err)
	}
	switch m := list[0]; {
	case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO:
		return net.IP(m.Data[8:12]).String()
	case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO:
		return net.IP(m.Data[:16]).String()
	}
	return "unknown"
}

// originalDestination returns where a connection went before it was redirected.
func originalDestination(c *net.TCPConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var sa unix.RawSockaddrInet4
	err = control(raw, func(fd int) error {
		n := uint32(unsafe.Sizeof(sa))
		_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST,
			uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port).String()
}
