package boot

import (
	"errors"
	"strconv"
)

// Version is the version of this contract: of the boot parameters, the descriptors and
// the control messages. A monitor says it in the first boot parameter, and an image
// has it in its manifest. Whoever changes the contract increments it.
//
// OldestVersion is the oldest version that both sides still accept. Before the first
// release that is Version; from then on it is to be two versions older.
const (
	Version       = 3
	OldestVersion = Version
)

// Accepts reports whether this side of the contract works with version v of the other.
func Accepts(v int) bool { return OldestVersion <= v && v <= Version }

// Accepted names the accepted versions, for messages: "version 1", "versions 3 to 5".
func Accepted(oldest, newest int) string {
	if oldest == newest {
		return "version " + strconv.Itoa(newest)
	}
	return "versions " + strconv.Itoa(oldest) + " to " + strconv.Itoa(newest)
}

// versionKey is the first boot parameter. A virtual machine that is started by hand
// may leave it out.
const versionKey = "version"

// checkVersion checks the value of the boot parameter.
func checkVersion(val string) error {
	v, err := strconv.Atoi(val)
	if err != nil {
		return err
	}
	if !Accepts(v) {
		return errors.New("the monitor's is " + strconv.Itoa(v) + ", and this image takes " + Accepted(OldestVersion, Version) +
			": build the image again with the pith that runs it, or run it with the pith that built it")
	}
	return nil
}
