//go:build pith

// Package log replaces gVisor's logger and drops all messages. They are for
// developers of the network stack, and standard error belongs to the program.
package log

import "time"

// Logger is the type of the stack's rate-limited loggers.
type Logger struct{}

// Debugf drops the message.
func Debugf(string, ...any) {}

// Infof drops the message.
func Infof(string, ...any) {}

// Warningf drops the message.
func Warningf(string, ...any) {}

// BugTracebackOnce drops err.
func BugTracebackOnce(err error) {}

// BasicRateLimitedLogger returns a logger that drops every message.
func BasicRateLimitedLogger(time.Duration) Logger { return Logger{} }

// Infof drops the message.
func (Logger) Infof(string, ...any) {}
