package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"runtime/trace"
	"time"
)

// profile: a CPU profile has samples of the function that used the CPU.
func profile() {
	var b bytes.Buffer
	check(pprof.StartCPUProfile(&b))
	show("burnt", burn(400*time.Millisecond) != 0)
	pprof.StopCPUProfile()
	data := must(io.ReadAll(must(gzip.NewReader(&b))))
	show("cpu", bytes.Contains(data, []byte("main.burn")))
	for range 3 {
		runtime.SetCPUProfileRate(1) // ends before its first sample; StartCPUProfile complains and keeps it
		check(pprof.StartCPUProfile(io.Discard))
		pprof.StopCPUProfile()
	}

	for _, name := range []string{"goroutine", "heap", "allocs", "threadcreate", "block", "mutex"} {
		b.Reset()
		show(name, pprof.Lookup(name).WriteTo(&b, 0), b.Len() > 0)
	}
	b.Reset()
	check(pprof.Lookup("goroutine").WriteTo(&b, 2))
	show("stack", bytes.Contains(b.Bytes(), []byte("main.profile(")))
	dump := must(os.CreateTemp("", "heap"))
	debug.WriteHeapDump(dump.Fd())
	text := must(os.ReadFile(dump.Name()))
	show("dump", bytes.HasPrefix(text, []byte("go1.7 heap dump\n")), bytes.Contains(text, []byte("main.profile")), text[len(text)-1])
	check(os.Remove(dump.Name()))
	_, file, _, ok := runtime.Caller(0)
	show("caller", file, ok)
	info, ok := debug.ReadBuildInfo()
	show("build", ok, info.Main.Path)
	sample := []metrics.Sample{{Name: "/sched/gomaxprocs:threads"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(sample)
	show("metrics", sample[0].Value.Uint64() == uint64(runtime.GOMAXPROCS(0)), sample[1].Value.Uint64() > 0)
}

//go:noinline
func burn(d time.Duration) (n int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range 100_000 {
			n += i * i
		}
	}
	return n
}

func tracing() {
	var b bytes.Buffer
	check(trace.Start(&b))
	show("enabled", trace.IsEnabled(), trace.Start(&b))
	done := make(chan bool)
	go func() { time.Sleep(time.Millisecond); done <- true }()
	<-done
	trace.Stop()
	show("header", string(b.Bytes()[:5]), b.Len() > 500)
}
