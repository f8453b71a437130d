package controlplane

import (
	"context"
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mlstudio/studio/localcluster/datadir"
)

func TestDamagedDatabaseIsKeptAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := checkDatabase(t.Context(), path); err != nil {
		t.Fatalf("no database yet: %v", err)
	}
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE kine (name TEXT); INSERT INTO kine SELECT hex(randomblob(500)) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) SELECT i FROM n)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := checkDatabase(t.Context(), path); err != nil {
		t.Fatalf("a sound database: %v", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096 * 3; i < 4096*6; i++ {
		raw[i] = 0xA5
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	err = checkDatabase(t.Context(), path)
	if err == nil {
		t.Fatal("a damaged database passed")
	}
	kept, _ := filepath.Glob(path + ".damaged-*")
	if len(kept) != 1 || !strings.Contains(err.Error(), kept[0]) {
		t.Fatalf("kept %v, error %v: want one file, named by the error", kept, err)
	}
	if got, _ := os.ReadFile(kept[0]); string(got) != string(raw) {
		t.Error("the damaged file was changed")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the damaged file is still in place: %v", err)
	}
}

func TestStoresStartOnAnEmptyFolder(t *testing.T) {
	d := datadir.Dir(t.TempDir())
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var end sync.WaitGroup
	f := files{dir: d}
	for _, s := range []store{f.state("FULL"), f.transient()} {
		if err := s.start(ctx, &end); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(s.socket); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("socket %s: mode %v, %v; want 0600", s.socket, st.Mode(), err)
		}
	}
	cancel()
	end.Wait()
}

func TestTakenPortIsNamedWithTheWayOut(t *testing.T) {
	d := datadir.Dir(t.TempDir())
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := d.KeepAPIPort(l.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsurePort(t.Context(), d); err == nil || !strings.Contains(err.Error(), d.Ports()) {
		t.Errorf("error %v, want one that names %s", err, d.Ports())
	}
	l.Close()
	if _, err := EnsurePort(t.Context(), d); err != nil {
		t.Errorf("the port is free again: %v", err)
	}
}
