package procs

import (
	"os"
	"os/exec"
	"testing"
)

func TestKillHitsOnlyTheProcessItMeans(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer cmd.Process.Kill()
	start, err := Start(pid)
	if err != nil {
		t.Fatal(err)
	}
	if start == 0 || !Alive(pid, start) {
		t.Fatalf("process %d of time %d is not alive", pid, start)
	}
	// The same number at another time is another process.
	if err := Kill(pid, start+1); err != nil {
		t.Fatal(err)
	}
	if !Alive(pid, start) {
		t.Fatal("a process of another time was killed")
	}
	if err := Kill(pid, start); err != nil {
		t.Fatal(err)
	}
	// Not waited for yet, so it is a zombie, and that is not alive.
	if Alive(pid, start) {
		t.Error("the process lives on")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	if err := Kill(pid, start); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
}

func TestReadStatOfAnOddName(t *testing.T) {
	dir := t.TempDir()
	odd := dir + "/a) R 1 (b"
	if err := os.Symlink("/bin/sleep", odd); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(odd, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	st, err := ReadStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if st.Parent != os.Getpid() {
		t.Errorf("parent %d, want %d", st.Parent, os.Getpid())
	}
}
