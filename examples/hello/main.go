// Command hello greets and says what it runs on.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("Hello from %s on %d CPUs\n", runtime.Version(), runtime.NumCPU())
}
