//go:build !pith

package image

// Outside of an image there are no root files.
const magic0, magic1 = 0, 0
