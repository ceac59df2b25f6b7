// Command dial makes connections to a server outside, and prints what it measured.
//
//	dial short ADDR N      connects N times, for a byte each way; prints seconds
//	dial send ADDR N       sends N bytes by one connection; prints bytes a second
//	dial receive ADDR N    receives N bytes by one connection; prints bytes a second
//	dial requests URL N    makes N requests over 16 connections; prints requests a second
//	dial datagrams ADDR N  sends N datagrams, each after the last came back; prints datagrams a second
//	dial unconnected ADDR N  does so by a socket that is not connected
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: dial short|send|receive|requests|datagrams|unconnected ADDR N")
	}
	n, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	mode, addr := os.Args[1], os.Args[2]
	work := map[string]func(string, int) error{
		"short": short, "send": send, "receive": receive, "requests": requests, "datagrams": datagrams, "unconnected": unconnected,
	}[mode]
	if work == nil {
		log.Fatalf("%s is not known", mode)
	}
	if err := work(addr, max(n/20, 1)); err != nil { // warms up
		log.Fatal(err)
	}
	start := time.Now()
	if err := work(addr, n); err != nil {
		log.Fatal(err)
	}
	took := time.Since(start).Seconds()
	if mode == "short" {
		fmt.Println(took)
	} else {
		fmt.Println(float64(n) / took)
	}
}

// dial connects and says what the connection is for: the server reads one byte.
func dial(addr string, what byte) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{what})
	return c, err
}

func short(addr string, n int) error {
	for range n {
		c, err := dial(addr, 'e')
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

func send(addr string, n int) error {
	c, err := dial(addr, 'd')
	if err != nil {
		return err
	}
	defer c.Close()
	block := make([]byte, 256<<10)
	for left := n; left > 0; left -= len(block) {
		if _, err := c.Write(block[:min(left, len(block))]); err != nil {
			return err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return err
}

func receive(addr string, n int) error {
	c, err := dial(addr, 's')
	if err != nil {
		return err
	}
	defer c.Close()
	block := make([]byte, 256<<10)
	for left := n; left > 0; {
		got, err := c.Read(block)
		if err != nil {
			return err
		}
		left -= got
	}
	return nil
}

func requests(url string, n int) error {
	const parallel = 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: parallel}}
	errs := make(chan error, parallel)
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for range max(n/parallel, 1) {
				r, err := client.Get(url)
				if err != nil {
					errs <- err
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func datagrams(addr string, n int) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 64)
	for range n {
		if _, err := c.Write(b); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
	return nil
}

func unconnected(addr string, n int) error {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 64)
	for range n {
		if _, err := c.WriteToUDP(b, to); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, _, err := c.ReadFromUDP(b); err != nil {
			return err
		}
	}
	return nil
}
