// Command hello prints a greeting, the Go version and the number of CPUs.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("Hello from %s on %d CPUs\n", runtime.Version(), runtime.NumCPU())
}
