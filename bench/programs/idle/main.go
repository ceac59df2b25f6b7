// Command idle says so and does nothing more.
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
