//go:build pith

package runtime

// The CMOS clock (MC146818).

// vmTimeOfDay reads the machine's clock: seconds to years, in BCD or binary. ok is
// false where there is no clock, or it has no date.
//
//go:nosplit
func vmTimeOfDay() (year, month, day, hour, min, sec uintptr, ok bool) {
	const index, data = 0x70, 0x71
	if vmin8(index) == 0xff && vmrtc(0) == 0xff {
		return 0, 0, 0, 0, 0, 0, false
	}
	// Twice the same, with no update between.
	for last := ^uintptr(0); ; {
		for range 1 << 20 {
			if vmrtc(10)&0x80 == 0 { // no update in progress
				break
			}
		}
		sec, min, hour = vmrtc(0), vmrtc(2), vmrtc(4)
		day, month, year = vmrtc(7), vmrtc(8), vmrtc(9)
		now := sec | min<<8 | hour<<16 | day<<24 | month<<32 | year<<40
		if now == last {
			break
		}
		last = now
	}
	if vmrtc(11)&4 == 0 {
		sec, min, hour = bcd(sec), bcd(min), bcd(hour)
		day, month, year = bcd(day), bcd(month), bcd(year)
	}
	ok = 1 <= month && month <= 12 && 1 <= day && day <= 31
	return year + 2000, month, day, hour, min, sec, ok
}

//go:nosplit
func vmrtc(reg uintptr) uintptr {
	vmout8(0x70, reg)
	return vmin8(0x71)
}

//go:nosplit
func bcd(v uintptr) uintptr { return v>>4*10 + v&15 }
