// Command clock prints the time at which main began, in nanoseconds.
package main

import (
	"os"
	"strconv"
	"time"
)

func main() {
	now := time.Now().UnixNano()
	if _, err := os.Stdout.WriteString(strconv.FormatInt(now, 10) + "\n"); err != nil {
		os.Exit(1)
	}
}
