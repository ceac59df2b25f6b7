package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// args: what the program was started with.
func args() {
	show("args", len(os.Args)-1, fmt.Sprintf("%q", os.Args[1:]))
	show("GREETING", os.Getenv("GREETING"))
	v, ok := os.LookupEnv("EMPTY")
	show("EMPTY", fmt.Sprintf("%q", v), ok)
	long, sum := 0, uint32(0)
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "LONG") {
			long++
			sum = crc32.Update(sum, crc32.IEEETable, []byte(e))
		}
	}
	show("LONG", long, sum)
	_, ok = os.LookupEnv("PITH_BOOT")
	show("boot parameters visible", ok)
	check(os.Setenv("ADDED", "later"))
	show("expand", os.ExpandEnv("$GREETING, ${ADDED}"))
	show("executable", must(os.Executable()) != "")
	show("hostname", must(os.Hostname()) != "")
	show("page size", os.Getpagesize())
}

func stdin() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(strings.ToUpper(lines.Text()))
	}
	show("end", lines.Err())
	_, err := fmt.Fprintln(os.Stderr, "to standard error")
	show("stderr", err)
}

func exit() {
	defer fmt.Println("deferred calls do not run")
	fmt.Println("leaving")
	os.Exit(42)
}

func panics() {
	defer fmt.Println("deferred calls run")
	panic("on purpose")
}

func goexit() {
	go func() {
		time.Sleep(time.Millisecond)
		os.Exit(7)
	}()
	runtime.Goexit()
}

// execRefused: a unikernel runs one program. Linux runs another one.
func execRefused() {
	self := must(os.Executable())
	show("command", exec.Command(self, "exit").Run())
	show("start", second(os.StartProcess(self, []string{self, "exit"}, &os.ProcAttr{})))
	show("exec", syscall.Exec(self, []string{self, "exit"}, nil))
}

func stackOverflow() {
	fmt.Println("descending")
	var descend func(n int) int
	descend = func(n int) int {
		var frame [256]int
		frame[n%len(frame)] = n
		return descend(n+1) + frame[0]
	}
	fmt.Println(descend(0))
}

// segfault: an access that Go does not turn into a recoverable panic.
func segfault() {
	defer func() { fmt.Println("recovered, which must not be") }()
	fmt.Println(*outOfBounds())
}

func terminated() {
	fmt.Println("terminating")
	check(syscall.Kill(os.Getpid(), syscall.SIGTERM))
	time.Sleep(time.Minute) // the signal ends this
}

func killed() {
	fmt.Println("killing")
	check(syscall.Kill(os.Getpid(), syscall.SIGKILL))
	time.Sleep(time.Minute)
}

// asleep waits in a system call for nothing, as it can for a signal's end.
func asleep() {
	fmt.Println("asleep")
	_ = syscall.Pause()
}

// deadlock is one that nobody of the program can end, after a use of the network
// and of a timer.
func deadlock() {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	c := must(net.Dial("tcp", l.Addr().String()))
	d := must(l.Accept())
	check(errors.Join(c.Close(), d.Close(), l.Close()))
	time.Sleep(time.Millisecond)
	fmt.Println("deadlocked")
	var m sync.Mutex
	m.Lock()
	go func() {
		m.Lock()
		fmt.Println("a mutex locked twice")
	}()
	<-make(chan int)
	fmt.Println("from nobody")
}

// manySignals has each of many signals arrive, whatever the threads are just doing:
// one may be on its way into a system call that waits.
func manySignals() {
	const many = 2000
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGHUP)
	busy, stop := make(chan bool), make(chan bool)
	go func() {
		defer close(busy)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Microsecond):
				runtime.GC()
			}
		}
	}()
	lost := 0
	for range many {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			show("kill", err)
		}
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			lost++
		}
		if lost > 0 {
			break
		}
	}
	close(stop)
	<-busy
	show("signals lost", lost)
}

func signals() {
	self := must(os.FindProcess(os.Getpid()))
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGHUP)
	for _, s := range []os.Signal{syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGHUP} {
		check(self.Signal(s))
		show("got", <-got)
	}
	signal.Ignore(syscall.SIGUSR2)
	show("ignored", signal.Ignored(syscall.SIGUSR2), self.Signal(syscall.SIGUSR2))
	signal.Stop(got)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	check(self.Signal(os.Interrupt))
	<-ctx.Done()
	show("context", ctx.Err())
	show("existence", self.Signal(syscall.Signal(0)))
	show("no such process", errors.Is(syscall.Kill(1<<22+1, 0), syscall.ESRCH))
	show("bad signal", syscall.Kill(os.Getpid(), 99))
}
