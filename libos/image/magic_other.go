//go:build !pith

package image

// Outside an image there are no root files.
const magic0, magic1 = 0, 0
