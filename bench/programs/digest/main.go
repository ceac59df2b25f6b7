// Command digest computes SHA-256 of as many MB as its argument says. It prints a
// line before and one after.
package main

import (
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"strconv"
)

func main() {
	mb, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	block := make([]byte, 1e6)
	fmt.Println("begins")
	h := sha256.New()
	for range mb {
		h.Write(block)
	}
	fmt.Printf("%x\n", h.Sum(nil))
}
