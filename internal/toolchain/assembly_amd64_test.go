package toolchain

import "testing"

func TestGateCallsReplacesEverySyscallInstruction(t *testing.T) {
	src := "#define SYS_exit 60\n" +
		"TEXT runtime·exit(SB),NOSPLIT,$0-4\n\tMOVL\t$SYS_exit, AX // the SYSCALL number\n\tSYSCALL\n\tRET\n" +
		"TEXT runtime·gone(SB),NOSPLIT,$0\n\tSYSCALL\t// no stack\n" +
		"TEXT ·no<ABIInternal>(SB),NOSPLIT,$0\n\tSYSCALL\n"
	got, err := gateCalls([]byte(src), []string{"gone"}, []string{"no"})
	if err != nil {
		t.Fatal(err)
	}
	want := "#define SYS_exit 60\n" +
		"TEXT runtime·exit(SB),NOSPLIT,$0-4\n\tMOVL\t$SYS_exit, AX // the SYSCALL number\n\tCALL\truntime·pithgate(SB)\n\tRET\n" +
		"TEXT runtime·gone(SB),NOSPLIT,$0\n\tJMP\truntime·pithgate(SB)\n" +
		"TEXT ·no<ABIInternal>(SB),NOSPLIT,$0\n\tMOVQ\t$-38, AX\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGateCallsRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, src := range map[string]string{
		"a named function that is missing": "TEXT runtime·exit(SB),NOSPLIT,$0\n\tSYSCALL\n",
		"two instructions on a line":       "TEXT runtime·gone(SB),NOSPLIT,$0\n\tSYSCALL; RET\n",
	} {
		if _, err := gateCalls([]byte(src), []string{"gone"}, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
