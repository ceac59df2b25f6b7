// Package apps runs real programs, unmodified, on Linux and as images, and
// lets the same real client use both: the two servers named as tools in
// go.mod, and small servers, one in each folder, around libraries that ask a
// lot of an operating system.
package apps
