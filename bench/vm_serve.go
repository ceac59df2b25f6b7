package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pith-os/pith/bench/linuxguest"
	"github.com/pith-os/pith/conformance/harness"
)

// server is a server that runs in a virtual machine.
type server struct {
	addr  string
	pid   int           // of pith, or of the Linux guest's QEMU
	first time.Duration // from the command's start to the first answer
}

// serveVM starts a server in a Linux guest or under a monitor, calls measure when
// it answers, and stops it. answer asks the server once and returns why it does not
// answer yet.
func (b *bench) serveVM(m harness.Monitor, p harness.Program, answer func(addr string) error, measure func(server) error) (err error) {
	if m.Name == linux.Name {
		return b.serveLinux(p, answer, measure)
	}
	began := time.Now()
	i, err := b.lab.Start(b.ctx, m, p)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, i.Stderr())
		}
		if _, stopErr := i.Stop(os.Interrupt, startTimeout); err == nil {
			err = stopErr
		}
		if killErr := i.Kill(); err == nil {
			err = killErr
		}
	}()
	s := server{addr: i.Addr("80"), pid: i.PID()}
	if err := repeat(func() error { return answer(s.addr) }); err != nil {
		return err
	}
	s.first = time.Since(began)
	return measure(s)
}

func (b *bench) serveLinux(p harness.Program, answer func(string) error, measure func(server) error) (err error) {
	g, err := b.newGuest(linux, p)
	if err != nil {
		return err
	}
	v, err := b.start(g)
	if err != nil {
		return err
	}
	defer func() {
		if endErr := v.end(); err == nil {
			err = endErr
		}
	}()
	s := server{addr: v.addr, pid: v.cmd.Process.Pid}
	// The gateway accepts connections from the beginning. While the guest has no
	// address, the gateway's retries would come at ever longer intervals.
	err = v.await(startTimeout, func(text []byte) bool { return bytes.Contains(text, []byte(linuxguest.Up)) })
	if err == nil {
		err = repeat(func() error { return answer(s.addr) })
	}
	if err != nil {
		return err
	}
	s.first = time.Since(v.began)
	return measure(s)
}

// repeat calls try until it succeeds, at most for startTimeout.
func repeat(try func() error) error {
	late := time.After(startTimeout)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-late:
			return fmt.Errorf("no answer within %v: %w", startTimeout, err)
		case <-again.C:
		}
	}
}

// answersHTTP asks a web server once, on a connection of its own.
func answersHTTP(addr string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	r, err := client.Get("http://" + addr + "/")
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK || string(body) != "hello\n" {
		return fmt.Errorf("it answers %s, %q", r.Status, body)
	}
	return nil
}

// answersEcho sends a byte and waits for it to come back.
func answersEcho(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	b := []byte{'x'}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err = io.ReadFull(c, b)
	return err
}
