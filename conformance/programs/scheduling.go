package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"weak"
)

func goroutines() {
	var wg sync.WaitGroup
	var sum atomic.Int64
	for i := range 10_000 {
		wg.Go(func() { sum.Add(int64(i)) })
	}
	wg.Wait()
	show("sum", sum.Load())

	// A ring hands a token round: every hop is a park and a wake.
	const hops, size = 20_000, 100
	first := make(chan int)
	in := first
	for range size - 1 {
		out := make(chan int)
		go func(in, out chan int) {
			for v := range in {
				out <- v + 1
			}
		}(in, out)
		in = out
	}
	token := 0
	for token < hops {
		first <- token
		token = <-in + 1
	}
	show("token", token)

	var mu sync.Mutex
	ready := sync.NewCond(&mu)
	turn := 0
	for i := range 50 {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for turn != i {
				ready.Wait()
			}
			turn++
			ready.Broadcast()
		})
	}
	wg.Wait()
	show("turns", turn)

	// Each on a thread of its own.
	var threads atomic.Int32
	for range 16 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			time.Sleep(time.Millisecond)
			threads.Add(1)
		})
	}
	wg.Wait()
	show("threads", threads.Load())

	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, context.DeadlineExceeded)
	defer cancel()
	<-ctx.Done()
	show("context", context.Cause(ctx))
}

// preemption: loops without calls must not keep others from running.
func preemption() {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var stop atomic.Bool
	var done sync.WaitGroup
	for range 3 {
		done.Go(func() {
			for !stop.Load() {
			}
		})
	}
	time.Sleep(5 * time.Millisecond)
	runtime.GC() // stops the world, so needs every loop to yield
	stop.Store(true)
	done.Wait()
	show("loops were preempted", true)
}

func timers() {
	start := time.Now()
	time.Sleep(20 * time.Millisecond)
	took := time.Since(start)
	show("slept", took >= 20*time.Millisecond, took < 10*time.Second)

	var now syscall.Timeval
	show("time of day", syscall.Gettimeofday(&now), time.Since(time.Unix(now.Unix())).Abs() < 10*time.Second)

	// A thread that loses its CPU makes several timers late at once, on Linux too.
	// Their functions then run in any order. None runs before its own time.
	inTime := make(chan bool, 3)
	for _, n := range []int{3, 1, 2} {
		d, set := time.Duration(n)*30*time.Millisecond, time.Now()
		time.AfterFunc(d, func() {
			late := time.Since(set) - d
			inTime <- late >= 0 && late < 10*time.Second
		})
	}
	show("functions in time", <-inTime, <-inTime, <-inTime)

	t := time.NewTimer(time.Hour)
	show("stopped", t.Stop(), t.Stop())
	show("reset", t.Reset(time.Millisecond))
	<-t.C

	// A tick has the time at which it was sent, less the time by which its timer
	// was late. A thread that loses its CPU between the two readings of the clock
	// sends a time that is too late, on Linux too, so a tick may be before the
	// one that was received last. It is never before its own turn.
	const period = 2 * time.Millisecond
	begin := time.Now()
	tick := time.NewTicker(period)
	inTurn, received := true, true
	for n := range 6 {
		sent := <-tick.C
		now := time.Now()
		inTurn = inTurn && sent.Sub(begin) >= time.Duration(n+1)*period
		received = received && !now.Before(sent)
	}
	tick.Stop()
	show("ticks in turn", inTurn)
	show("ticks in the past", received)
	show("wall clock", time.Now().Year() >= 2024)
	show("monotonic", !time.Now().Before(start))
}

// clock: no thread reads a time before one that another thread has read and
// passed on. That needs one clock for all CPUs, and readings in program order.
func clock() {
	type cell struct {
		ns atomic.Int64 // the last reading of its writer, since start
		_  [120]byte    // a cache line of its own
	}
	const d = 300 * time.Millisecond
	start := time.Now()
	cells := make([]cell, 2*runtime.NumCPU())
	var backwards atomic.Int64
	var wg sync.WaitGroup
	for i := range cells {
		wg.Go(func() {
			for {
				known := cells[(i+1)%len(cells)].ns.Load()
				now := int64(time.Since(start))
				if now < known {
					backwards.Add(1)
				}
				cells[i].ns.Store(now)
				if now > int64(d) {
					return
				}
			}
		})
	}
	wg.Wait()
	show("readings before an earlier one", backwards.Load())
}

// memory: the collector collects, gives back, and keeps to a limit.
func memory() {
	show("limit set", debug.SetMemoryLimit(64<<20) > 0)
	var live [][]byte
	for i := range 400 {
		block := make([]byte, 1<<20)
		block[i] = byte(i)
		if live = append(live, block); len(live) == 16 {
			live = nil
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	show("within six times the limit", stats.Sys-stats.HeapReleased < 384<<20)
	show("collections", stats.NumGC > 3)

	before := stats.HeapReleased
	live = nil
	debug.FreeOSMemory()
	runtime.ReadMemStats(&stats)
	show("given back", stats.HeapReleased > before)

	cleaned := make(chan string, 2)
	pointer := new([64]int)
	ghost := weak.Make(pointer)
	runtime.AddCleanup(pointer, func(s string) { cleaned <- s }, "cleanup")
	runtime.KeepAlive(pointer)
	pointer = nil
	runtime.GC()
	show("ran", <-cleaned, ghost.Value() == nil)

	large := make([]byte, 96<<20) // fits an image's default memory
	for i := 0; i < len(large); i += 1 << 20 {
		large[i] = 1
	}
	n := 0
	for i := 0; i < len(large); i += 1 << 19 {
		n += int(large[i])
	}
	show("large", n)
}
