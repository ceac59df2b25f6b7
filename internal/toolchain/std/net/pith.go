//go:build pith

package net

// Programs that reach package net have TCP/IP in their image.
import _ "pith/libos/inet"
