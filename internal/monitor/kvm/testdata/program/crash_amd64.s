#include "textflag.h"

// func crash()
// GS points to the vCPU's block. In its byte 16 (masked) the thread layer sets that its own
// code runs.
TEXT ·crash(SB), NOSPLIT, $0-0
	MOVL $1, 16(GS)
	UD2
	RET
