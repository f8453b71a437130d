package proc

import (
	"os/exec"
	"testing"
)

func TestFindSeesWhatCarriesTheMark(t *testing.T) {
	const mark = Mark("STUDIO_PROC_TEST=yes")
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{"OTHER=x", string(mark)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, err := Find(mark, "/no/such/folder")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].PID != cmd.Process.Pid {
		t.Fatalf("found %v, want process %d", found, cmd.Process.Pid)
	}
	if pss, err := Pss(found); err != nil || pss < 4096 {
		t.Errorf("its memory is %d bytes (%v); a process has at least a page", pss, err)
	}
	if _, err := CPU(found); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed: the error says so
	if found, err = Find(mark, "/no/such/folder"); err != nil || len(found) != 0 {
		t.Errorf("found %v (%v) after its end", found, err)
	}
}
