package project

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the published schema")

// The published schema is what this program reads.
func TestSchemaIsInStep(t *testing.T) {
	const published = "../docs/studio.schema.json"
	want, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(published, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(published); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what the program reads (%v); go test ./project -update writes it", published, err)
	}
}
