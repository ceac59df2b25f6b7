// Command read prints how many nanoseconds a 64-byte read of /dev/zero takes,
// by os.File.Read and by syscall.Read.
package main

import (
	"fmt"
	"log"
	"os"
	"syscall"
	"time"
)

func main() {
	f, err := os.Open("/dev/zero")
	if err != nil {
		log.Fatal(err)
	}
	fd := int(f.Fd())
	fmt.Printf("%.2f %.2f\n", perRead(f.Read), perRead(func(b []byte) (int, error) { return syscall.Read(fd, b) }))
}

// perRead returns the best of several runs, because a disturbance only adds time.
func perRead(read func([]byte) (int, error)) float64 {
	const runs, reads = 10, 200_000
	buf := make([]byte, 64)
	best := time.Duration(1 << 62)
	for range runs {
		start := time.Now()
		for range reads {
			if _, err := read(buf); err != nil {
				log.Fatal(err)
			}
		}
		best = min(best, time.Since(start))
	}
	return float64(best) / reads
}
