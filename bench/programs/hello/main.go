// Command hello is the smallest program that says something.
package main

import "fmt"

func main() { fmt.Println("hello") }
