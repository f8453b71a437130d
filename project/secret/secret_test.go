package secret

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	for text, want := range map[string]map[string]string{
		"A=b\n# note\nexport B='c d'\nC=\"x=1 # no note\"\nEMPTY=\n": {"A": "b", "B": "c d", "C": "x=1 # no note", "EMPTY": ""},
		"": {},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(file); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"this is hunter2\n": "this is no file of variables",
		"a-b.c=hunter2\n":   "this is no",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the value: %v", err)
		}
	}
	if _, err := ReadFile(file + "x"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestParsePair(t *testing.T) {
	if k, v, err := ParsePair("A_1=b=c"); err != nil || k != "A_1" || v != "b=c" {
		t.Errorf("%s, %s, %v", k, v, err)
	}
	for _, bad := range []string{"hunter2", "=hunter2", "a b=hunter2"} {
		if _, _, err := ParsePair(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
