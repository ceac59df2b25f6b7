package main

import (
	"os"

	"github.com/pith-os/pith/conformance/harness"
)

// sizeFigure: how many bytes the library OS adds to a file. The plain binary is
// built with -ldflags '-s -w' and -trimpath, without cgo. 1 MB is 1e6 bytes.
var sizeFigure = figure{
	name:    "size",
	what:    "image against the plain binary (-s -w)",
	goal:    "hello + 0.7 MB; net/http + 3.2 MB",
	measure: measureSize,
}

func measureSize(b *bench) ([]line, error) {
	var lines []line
	for _, p := range []struct {
		pkg   string
		limit float64
	}{{"hello", 0.7}, {"nethello", 3.2}} {
		program := harness.Program{Package: "./bench/programs/" + p.pkg}
		image, err := b.lab.Image(b.ctx, program)
		if err != nil {
			return nil, err
		}
		plain, err := b.lab.Plain(b.ctx, program)
		if err != nil {
			return nil, err
		}
		var mb [2]float64
		for n, file := range []string{image, plain} {
			info, err := os.Stat(file)
			if err != nil {
				return nil, err
			}
			mb[n] = float64(info.Size()) / 1e6
		}
		more := mb[0] - mb[1]
		lines = append(lines, line{
			Label:   p.pkg,
			Unit:    "MB",
			Medians: []value{{"image", mb[0]}, {"plain", mb[1]}},
			Ratios:  []ratio{{"+ " + digits(more) + " MB", more <= p.limit}},
		})
	}
	return lines, nil
}
