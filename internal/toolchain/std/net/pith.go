//go:build pith

package net

// Images of programs that import package net have TCP/IP.
import _ "pith/libos/inet"
