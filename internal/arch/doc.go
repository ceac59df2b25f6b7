// Package arch keeps arm64.txt, the list of what a port to arm64 must define. Its test
// type-checks everything for that architecture and compares.
package arch
