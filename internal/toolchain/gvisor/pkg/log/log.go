//go:build pith

// Package log stands in for gVisor's logger. What the network stack has to say
// is for its developers; an instance's standard error is the program's own.
package log

import "time"

// Logger is what the stack's rate-limited loggers are.
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
