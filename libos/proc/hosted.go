//go:build !pith

package proc

import "os"

func arguments() []string   { return os.Args }
func environment() []string { return os.Environ() }
func processor() string     { return "hosted" }
func features() string      { return "" }
