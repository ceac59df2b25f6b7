// Command hello is the smallest program that prints something.
package main

import "fmt"

func main() { fmt.Println("hello") }
