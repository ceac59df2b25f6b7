// Command program is the image of the tests of a monitor. Its first argument selects what it
// does.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := does[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println(err)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			fmt.Printf("errno %d\n", int(errno))
		}
		os.Exit(3)
	}
}

var does = map[string]func(args []string) error{
	"copy":    copyInput,
	"flood":   flood,
	"sleep":   sleep,
	"network": network,
	"folders": folders,
	"disk":    disk,
	"crash":   func([]string) error { crash(); return nil },
}

// crash causes a fault in code that the nucleus takes for the thread layer, which must not
// fault.
func crash()

// copyInput copies standard input to standard output.
func copyInput([]string) error {
	n, err := io.Copy(os.Stdout, os.Stdin)
	fmt.Fprintln(os.Stderr, "copied", n)
	return err
}

// flood writes to standard output until a write fails.
func flood([]string) error {
	signal.Ignore(syscall.SIGPIPE)
	for {
		if _, err := os.Stdout.WriteString("and on and on\n"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return err
		}
	}
}

// sleep waits for SIGTERM.
func sleep([]string) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println(<-c)
	return nil
}

// network reads from a connection until a read fails.
func network(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("connected")
	_, err = io.Copy(io.Discard, c)
	return err
}

// folders writes to a file in each folder.
func folders(args []string) error {
	for _, name := range args {
		err := os.WriteFile(name+"/written", []byte("by the guest"), 0o644)
		text, readErr := os.ReadFile(name + "/there")
		fmt.Printf("%s: %v, %q, %v\n", name, err, text, readErr)
	}
	return nil
}

// disk writes the given number of bytes to the disk in pieces of 64 KiB. It prints the time
// in milliseconds until all bytes have reached the disk.
func disk(args []string) error {
	flags := os.O_RDWR
	if len(args) > 1 {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile("/dev/vda", flags, 0)
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = byte(i)
	}
	began := time.Now()
	for at := 0; at < size; at += len(piece) {
		if flags == os.O_RDONLY {
			_, err = f.ReadAt(piece, int64(at))
		} else {
			_, err = f.WriteAt(piece, int64(at))
		}
		if err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	fmt.Println(time.Since(began).Milliseconds())
	return nil
}
