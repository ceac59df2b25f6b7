// This file is the gate for the system calls of the runtime itself and of package platform.
// In a confined process they go to the host. In a VM they go to the thread layer (vmgate).
// The program's system calls are functions of the library OS and do not pass the gate.

#include "go_asm.h"
#include "go_tls.h"
#include "textflag.h"
#include "funcdata.h"

// Entries of runtime·pithgatetab, which holds the gate's action for each call number.
#define GATE_ENOSYS	0
#define GATE_HOST	1
#define GATE_ENOENT	2
#define GATE_ZERO	3
#define GATE_CLONE	4
#define GATE_GETTID	5
#define GATE_GETPID	6
#define GATE_EPOLL	7
#define GATE_WAKE	8
#define GATE_SLEEP	9
#define GATE_KILL	10
#define GATE_EINVAL	11
#define GATE_POLLER	12
#define GATE_MINCORE	13
#define GATE_FD	14

// pithgate makes system call AX with the arguments DI, SI, DX, R10, R8 and R9. Like SYSCALL it
// returns the result in AX, changes CX and R11, and preserves all other registers. A function
// that must not touch the stack may jump to it instead of calling it.
TEXT runtime·pithgate(SB),NOSPLIT|NOFRAME,$0-0
	LEAL	-const_pithpipefirst(DI), CX
	CMPL	CX, $(2*const_pithpipecount)
	JCS	pipe
	CMPL	AX, $293	// pipe2
	JEQ	pipecall
nopipe:
	CMPB	runtime·pithvm(SB), $0
	JEQ	process
	JMP	runtime·vmgate(SB)
process:
	CMPQ	AX, $512
	JAE	nosys
	LEAQ	runtime·pithgatetab(SB), CX
	MOVBLZX	(CX)(AX*1), CX
	CMPL	CX, $GATE_HOST
	JNE	special
	SYSCALL
	RET
special:
	CMPL	CX, $GATE_FD
	JEQ	fd
	CMPL	CX, $GATE_ZERO
	JEQ	zero
	CMPL	CX, $GATE_ENOENT
	JEQ	noent
	CMPL	CX, $GATE_CLONE
	JEQ	clone
	CMPL	CX, $GATE_GETTID
	JEQ	gettid
	CMPL	CX, $GATE_GETPID
	JEQ	getpid
	CMPL	CX, $GATE_EPOLL
	JEQ	epoll
	CMPL	CX, $GATE_WAKE
	JEQ	wake
	CMPL	CX, $GATE_SLEEP
	JEQ	sleep
	CMPL	CX, $GATE_KILL
	JEQ	kill
	CMPL	CX, $GATE_EINVAL
	JEQ	inval
	CMPL	CX, $GATE_POLLER
	JEQ	poller
	CMPL	CX, $GATE_MINCORE
	JNE	nosys
	TESTQ	$4095, DI
	JNE	inval
nosys:
	MOVQ	$-38, AX
	RET
noent:
	MOVQ	$-2, AX
	RET
inval:
	MOVQ	$-22, AX
	RET
zero:
	MOVL	$0, AX
	RET
epoll:
	MOVL	$5, AX	// boot.FDEpoll
	RET
poller:	// there is no other epoll instance
	CMPL	DI, $5	// boot.FDEpoll
	JNE	badf
	SYSCALL
	RET
fd:	// the monitor's filter kills an image that names a descriptor it does not have
	CMPL	DI, $const_pithpipefirst
	JCC	badf
	SYSCALL
	RET
badf:
	MOVQ	$-9, AX
	RET
wake:
	MOVL	$6, AX	// boot.FDWake
	RET

	// Calls on the gate's own pipes are Go functions. They preserve the registers that
	// the callers in assembly need.
pipe:
	CMPL	AX, $1	// read, write
	JLS	pipecall
	CMPL	AX, $3	// close
	JEQ	pipecall
	CMPL	AX, $72	// fcntl
	JNE	nopipe
pipecall:
	SUBQ	$48, SP
	MOVQ	AX, 8(SP)
	MOVQ	DI, 16(SP)
	MOVQ	SI, 24(SP)
	MOVQ	DX, 32(SP)
	LEAQ	runtime·pithpiped(SB), R11
	MOVQ	R11, 0(SP)
	LEAQ	runtime·pithpipecall(SB), R11
	JMP	R11	// indirect: by name, the linker would add its stack use to every call

	// The child starts on its own stack, so the return address goes there. The kernel
	// writes the child's thread id to m.tls[1], behind g. gettid reads it there.
clone:
	MOVQ	0(SP), CX
	SUBQ	$8, SI
	MOVQ	CX, 0(SI)
	MOVQ	R8, R10
	ORQ	$0x01000000, DI	// CLONE_CHILD_SETTID
	SYSCALL
	ADDQ	$8, SI
	RET

gettid:
	BYTE $0x64; BYTE $0x8b; BYTE $0x04; BYTE $0x25	// MOVL FS:0, AX
	BYTE $0x00; BYTE $0x00; BYTE $0x00; BYTE $0x00
	TESTL	AX, AX
	JNE	done	// zero: the first thread, whose id is the process's
getpid:
	MOVL	runtime·pithpid(SB), AX
done:
	RET

	// nanosleep(DI) is a futex wait that always times out.
sleep:
	MOVQ	DI, R10
	LEAQ	runtime·pithsleepword(SB), DI
	MOVL	$128, SI	// FUTEX_WAIT | FUTEX_PRIVATE_FLAG
	MOVL	$0, DX
	MOVL	$202, AX	// futex
	SYSCALL
	RET

	// kill(DI, SI) sends a signal for the process to its first thread.
kill:
	MOVQ	SI, DX
	MOVL	runtime·pithpid(SB), DI
	MOVL	DI, SI
	MOVL	$234, AX	// tgkill
	SYSCALL
	RET

// pithpiped is the return address of pithpipecall.
TEXT runtime·pithpiped(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	32(SP), AX
	ADDQ	$40, SP
	RET

// func pithhostcall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr
TEXT ·pithhostcall(SB),NOSPLIT,$0-64
	MOVQ	num+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	a3+24(FP), DX
	MOVQ	a4+32(FP), R10
	MOVQ	a5+40(FP), R8
	MOVQ	a6+48(FP), R9
	CALL	runtime·pithgate(SB)
	MOVQ	AX, ret+56(FP)
	RET

// func syscall.pithApart(a1, a2, a3 uintptr) bool
TEXT syscall·pithApart<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-32
	CMPQ	g_bubble(R14), $0
	JNE	yes
	MOVQ	(g_stack+stack_lo)(R14), DX
	MOVQ	(g_stack+stack_hi)(R14), SI
	SUBQ	DX, SI
	SUBQ	DX, AX
	SUBQ	DX, BX
	SUBQ	DX, CX
	CMPQ	AX, SI
	JCS	yes
	CMPQ	BX, SI
	JCS	yes
	CMPQ	CX, SI
	JCS	yes
	MOVL	$0, AX
	RET
yes:
	MOVL	$1, AX
	RET

// The system calls that do not fail with ENOSYS. The monitor's seccomp filter permits those
// that reach SYSCALL.
DATA runtime·pithgatetab+0(SB)/1, $GATE_FD	// read
DATA runtime·pithgatetab+1(SB)/1, $GATE_FD	// write
DATA runtime·pithgatetab+2(SB)/1, $GATE_ENOENT	// open
DATA runtime·pithgatetab+3(SB)/1, $GATE_FD	// close
DATA runtime·pithgatetab+9(SB)/1, $GATE_HOST	// mmap
DATA runtime·pithgatetab+10(SB)/1, $GATE_HOST	// mprotect
DATA runtime·pithgatetab+11(SB)/1, $GATE_HOST	// munmap
DATA runtime·pithgatetab+13(SB)/1, $GATE_HOST	// rt_sigaction
DATA runtime·pithgatetab+14(SB)/1, $GATE_HOST	// rt_sigprocmask
DATA runtime·pithgatetab+15(SB)/1, $GATE_HOST	// rt_sigreturn
DATA runtime·pithgatetab+20(SB)/1, $GATE_HOST	// writev
DATA runtime·pithgatetab+24(SB)/1, $GATE_HOST	// sched_yield
DATA runtime·pithgatetab+27(SB)/1, $GATE_MINCORE	// mincore
DATA runtime·pithgatetab+28(SB)/1, $GATE_HOST	// madvise
DATA runtime·pithgatetab+35(SB)/1, $GATE_SLEEP	// nanosleep
DATA runtime·pithgatetab+39(SB)/1, $GATE_GETPID	// getpid
DATA runtime·pithgatetab+44(SB)/1, $GATE_HOST	// sendto
DATA runtime·pithgatetab+45(SB)/1, $GATE_HOST	// recvfrom
DATA runtime·pithgatetab+46(SB)/1, $GATE_HOST	// sendmsg
DATA runtime·pithgatetab+47(SB)/1, $GATE_HOST	// recvmsg
DATA runtime·pithgatetab+48(SB)/1, $GATE_HOST	// shutdown
DATA runtime·pithgatetab+51(SB)/1, $GATE_HOST	// getsockname
DATA runtime·pithgatetab+52(SB)/1, $GATE_HOST	// getpeername
DATA runtime·pithgatetab+54(SB)/1, $GATE_HOST	// setsockopt
DATA runtime·pithgatetab+55(SB)/1, $GATE_HOST	// getsockopt
DATA runtime·pithgatetab+56(SB)/1, $GATE_CLONE	// clone
DATA runtime·pithgatetab+60(SB)/1, $GATE_HOST	// exit
DATA runtime·pithgatetab+62(SB)/1, $GATE_KILL	// kill
DATA runtime·pithgatetab+72(SB)/1, $GATE_ZERO	// fcntl
DATA runtime·pithgatetab+131(SB)/1, $GATE_HOST	// sigaltstack
DATA runtime·pithgatetab+157(SB)/1, $GATE_EINVAL	// prctl
DATA runtime·pithgatetab+158(SB)/1, $GATE_HOST	// arch_prctl
DATA runtime·pithgatetab+186(SB)/1, $GATE_GETTID	// gettid
DATA runtime·pithgatetab+202(SB)/1, $GATE_HOST	// futex
DATA runtime·pithgatetab+228(SB)/1, $GATE_HOST	// clock_gettime
DATA runtime·pithgatetab+231(SB)/1, $GATE_HOST	// exit_group
DATA runtime·pithgatetab+233(SB)/1, $GATE_POLLER	// epoll_ctl
DATA runtime·pithgatetab+234(SB)/1, $GATE_HOST	// tgkill
DATA runtime·pithgatetab+257(SB)/1, $GATE_ENOENT	// openat
DATA runtime·pithgatetab+269(SB)/1, $GATE_ENOENT	// faccessat
DATA runtime·pithgatetab+281(SB)/1, $GATE_HOST	// epoll_pwait
DATA runtime·pithgatetab+288(SB)/1, $GATE_HOST	// accept4
DATA runtime·pithgatetab+290(SB)/1, $GATE_WAKE	// eventfd2
DATA runtime·pithgatetab+291(SB)/1, $GATE_EPOLL	// epoll_create1
GLOBL runtime·pithgatetab(SB), NOPTR|RODATA, $512
