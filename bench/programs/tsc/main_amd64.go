// Command tsc prints the time stamp counter at the beginning of main, and the
// counter's ticks in a second.
package main

import (
	"fmt"
	"time"
)

// ticks reads the time stamp counter (RDTSC).
func ticks() uint64

func main() {
	first := ticks()
	began := time.Now()
	start := ticks()
	time.Sleep(50 * time.Millisecond)
	took, end := time.Since(began), ticks()
	fmt.Printf("%d %.0f\n", first, float64(end-start)/took.Seconds())
}
