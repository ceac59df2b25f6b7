// Command program is the program of the tests of instances. Its first argument selects what it
// does.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	switch os.Args[1] {
	case "work": // uses some CPU time, then waits for SIGTERM
		for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
		}
	case "stubborn": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
	case "serve": // greets clients with the second argument until SIGTERM
		l, err := net.Listen("tcp", ":80")
		check(err)
		go func() {
			for {
				c, err := l.Accept()
				check(err)
				io.WriteString(c, os.Args[2])
				c.Close()
			}
		}()
	case "reach": // says what each address answers: TCP, and UDP by a connected and an unconnected socket
		var all sync.WaitGroup
		for _, addr := range os.Args[2:] {
			all.Go(func() {
				connected := reachUDP(addr, true, patience)
				// What refuses a connected socket is silent to any other.
				other := patience
				if connected != "open" {
					other = time.Second / 2
				}
				fmt.Print(addr + " " + reachTCP(addr) + " " + connected + " " + reachUDP(addr, false, other) + "\n")
			})
		}
		all.Wait()
		return
	case "network": // reads from a connection until a read fails
		c, err := net.Dial("tcp", os.Args[2])
		check(err)
		fmt.Println("connected")
		_, err = io.Copy(io.Discard, c)
		check(err)
		return
	}
	fmt.Println("ready")
	<-ended
	os.Exit(5)
}

// check does nothing if err is nil. Otherwise it prints err and its error number, and ends the
// program with exit code 3.
func check(err error) {
	if err == nil {
		return
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	fmt.Printf("%v\nerrno %d\n", err, int(errno))
	os.Exit(3)
}

// result is what a test can compare: "open", or why not.
func result(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silent"
	case errors.As(err, &errno) && errno == syscall.ECONNREFUSED:
		return "refused"
	}
	return err.Error()
}

const patience = 20 * time.Second

func reachTCP(addr string) string {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		c.Close()
	}
	return result(err)
}

// reachUDP sends a datagram to a server that sends it back.
func reachUDP(addr string, connected bool, patience time.Duration) string {
	to, err := net.ResolveUDPAddr("udp", addr)
	check(err)
	var c *net.UDPConn
	if connected {
		c, err = net.DialUDP("udp", nil, to)
	} else {
		c, err = net.ListenUDP("udp", nil)
	}
	if err != nil {
		return result(err)
	}
	defer c.Close()
	if connected {
		_, err = c.Write([]byte("x"))
	} else {
		_, err = c.WriteTo([]byte("x"), to)
	}
	if err == nil {
		check(c.SetReadDeadline(time.Now().Add(patience)))
		_, _, err = c.ReadFrom(make([]byte, 1))
	}
	return result(err)
}
