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
