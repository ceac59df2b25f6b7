// Order writes to standard output and error, by package os and by the runtime
// itself, in turn.
package main

import (
	"fmt"
	"os"
)

func main() {
	for range 3 {
		fmt.Println("1: to standard output")
		println("2: by the runtime")
		fmt.Fprintln(os.Stderr, "3: to standard error")
		println("4: by the runtime")
	}
	panic("5: the end")
}
