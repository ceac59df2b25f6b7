// Command idle prints a line and then does nothing.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("idle")
	for {
		time.Sleep(time.Hour)
	}
}
