package controlplane

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
	_ "github.com/mattn/go-sqlite3" // the driver that kine and the check below use
	"github.com/sirupsen/logrus"
)

// dsn of the store. FULL makes each commit reach the disk before it is
// acknowledged: with WAL's default, NORMAL, a power cut may lose the last ones.
// The start-up VACUUM is left out: freed pages are used again anyway.
func dsn(path, synchronous string) string {
	return path + "?_journal_mode=WAL&_busy_timeout=30000&_synchronous=" + synchronous + "&_txlock=immediate&_stmt_cache_size=20&cache=shared&_kine_disable_startup_vacuum=1"
}

// store is one SQLite database behind the etcd API.
type store struct {
	database, socket string
	// synchronous is SQLite's: FULL or NORMAL.
	synchronous string
}

// state holds all objects but those of transient.
func (f files) state(synchronous string) store {
	return store{database: filepath.Join(f.dir.DB(), "state.db"), socket: filepath.Join(f.dir.Run(), "kine.sock"), synchronous: synchronous}
}

// transient holds Events and leases, which are many, and which nobody misses
// after a power cut: they must not keep other writes waiting for the disk.
func (f files) transient() store {
	return store{database: filepath.Join(f.dir.DB(), "transient.db"), socket: filepath.Join(f.dir.Run(), "kine-transient.sock"), synchronous: "NORMAL"}
}

// endpoint is what the API server calls.
func (s store) endpoint() string { return "unix://" + s.socket }

// start serves until ctx ends; wg ends when the database is closed.
func (s store) start(ctx context.Context, wg *sync.WaitGroup) error {
	if err := checkDatabase(ctx, s.database); err != nil {
		return err
	}
	logrus.SetLevel(logrus.WarnLevel)
	_, err := endpoint.Listen(ctx, endpoint.Config{
		Listener:              s.endpoint(),
		Endpoint:              "sqlite://" + dsn(s.database, s.synchronous),
		WaitGroup:             wg,
		NotifyInterval:        5 * time.Second,
		EmulatedETCDVersion:   "3.6.11",
		CompactInterval:       5 * time.Minute,
		CompactIntervalJitter: 10,
		CompactTimeout:        5 * time.Second,
		CompactMinRetain:      1000,
		CompactBatchSize:      1000,
		PollBatchSize:         500,
		// A fallback only: this process is the one writer and wakes kine's readers itself.
		PollInterval: 10 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("starting the store: %w", err)
	}
	return nil
}

// checkDatabase has SQLite look over an existing file before anything writes
// to it. A damaged one is kept aside under a name of its own.
func checkDatabase(ctx context.Context, path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := sql.Open("sqlite3", path+"?_busy_timeout=30000")
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	verdict, err := quickCheck(ctx, db)
	db.Close()
	if err == nil && verdict == "ok" {
		return nil
	}
	if err != nil {
		verdict = err.Error()
	}
	// Only damage moves the file: a full disk or a lock must not.
	if err != nil && !strings.Contains(verdict, "malformed") && !strings.Contains(verdict, "not a database") {
		return fmt.Errorf("checking the database %s: %w", path, err)
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000Z"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the database %s is damaged (%s) and could not be moved aside: %w", path, verdict, err)
		}
	}
	return fmt.Errorf("the database is damaged (%s); it is kept as %s. The next `studio up` starts with an empty cluster; to try a repair first: sqlite3 %s .recover | sqlite3 %s", verdict, aside, aside, path)
}

func quickCheck(ctx context.Context, db *sql.DB) (string, error) {
	var verdict string
	// One finding is enough to know; a laptop's store is checked in milliseconds.
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	return verdict, err
}

// quietLogs sends what kine writes through logrus to our log.
func quietLogs(log *slog.Logger) {
	logrus.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelInfo).Writer())
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
}
