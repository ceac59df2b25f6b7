package bubble

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Time stands still in a bubble while one of its goroutines is in a system
// call. What the system makes in it, timers of connections say, is not the
// bubble's.
func TestSystemCallsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			c, err := ln.Accept()
			if err == nil {
				_, err = io.Copy(c, c)
				c.Close()
			}
			done <- err
		}()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "echo"); err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "echo" {
			t.Errorf("%q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Close()
		ln.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("%v passed", took)
		}
		time.Sleep(time.Hour)
	})
}

func TestPipesAndFilesInABubble(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	synctest.Test(t, func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Minute)
			w.Write([]byte("late"))
			w.Close()
		}()
		start := time.Now()
		time.Sleep(2 * time.Minute)
		if got, err := io.ReadAll(r); err != nil || string(got) != "late" {
			t.Errorf("%q, %v", got, err)
		}
		r.Close()
		if err := os.WriteFile(name, []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("%v passed", took)
		}
		if !info.ModTime().After(time.Now()) {
			t.Errorf("the file is of the bubble's time, %v", info.ModTime())
		}
	})
}
