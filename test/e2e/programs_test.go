//go:build e2e

package e2e

import (
	"debug/elf"
	"os"
	"testing"
)

// The programs that live in or beside each pod need no file of the pod's root
// and cost little: a machine runs one shim for each pod.
func TestJourneyProgramsForPods(t *testing.T) {
	e := newEngine(t)
	for name, most := range map[string]int64{"studio-shim": 8e6, "studio-agent": 4e6} {
		info, err := os.Stat(e.bin(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), most)
		}
		f, err := elf.Open(e.bin(name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is linked dynamically", name)
			}
		}
	}
}
