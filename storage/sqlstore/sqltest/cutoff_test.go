package sqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// meddler opens a driver's connections, on which something may happen to a
// statement before it is sent.
type meddler struct {
	driver driver.Driver
	dsn    string
	before func(ctx context.Context, query string) error
	closed atomic.Int64 // connections
	pool   *sql.DB      // of the store
}

func (m *meddler) Connect(context.Context) (driver.Conn, error) {
	conn, err := m.driver.Open(m.dsn)
	return &meddledConn{recordingConn{conn, &recorder{}}, m}, err
}

func (m *meddler) Driver() driver.Driver { return m.driver }

type meddledConn struct {
	recordingConn
	m *meddler
}

func (c *meddledConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.m.before(ctx, query); err != nil {
		return nil, err
	}
	return c.recordingConn.ExecContext(ctx, query, args)
}

func (c *meddledConn) Close() error {
	c.m.closed.Add(1)
	return c.recordingConn.Close()
}

// meddled returns a migrated store whose statements go through before.
func (e engine) meddled(t *testing.T, before func(ctx context.Context, query string) error) (*sqlstore.Store, *meddler) {
	t.Helper()
	dsn := e.database(t)
	plain := e.open(t, dsn)
	s, err := sqlstore.New(plain, e.dialect)
	noError(t, err)
	noError(t, s.Migrate(t.Context()))
	m := &meddler{driver: plain.Driver(), dsn: dsn + e.options, before: before}
	m.pool = sql.OpenDB(m)
	t.Cleanup(func() { _ = m.pool.Close() })
	s, err = sqlstore.New(m.pool, e.dialect)
	noError(t, err)
	return s, m
}

// byHand says whether the store begins and ends transactions itself.
func byHand(d sqlstore.Dialect) bool { return d != sqlstore.PostgreSQL }

// TestEndCutOff has the database not answer when a transaction is committed or
// rolled back: the call ends with its ctx, in SQLite some seconds later. Of a
// server nobody knows then what became of it, and the connection isn't used
// again; SQLite rolls back.
func TestEndCutOff(t *testing.T) {
	where(t, byHand, func(t *testing.T, e engine) {
		ends := []string{"COMMIT"}
		if hasServer(e.dialect) {
			ends = append(ends, "ROLLBACK")
		}
		for _, end := range ends {
			var silent atomic.Bool
			s, m := e.meddled(t, func(ctx context.Context, query string) error {
				if query == end && silent.CompareAndSwap(true, false) {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})
			there := put(t, s, object(t, tenant(1), "there"))
			silent.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			var err error
			if end == "COMMIT" {
				_, err = s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{})
				wantErr(t, err, context.DeadlineExceeded)
			} else { // by a call that is refused
				_, err = s.DeleteObject(ctx, ref(there), storage.NewID(base))
				wantErr(t, err, storage.ErrVersionConflict)
			}
			cancel()
			if silent.Load() {
				t.Errorf("%s was never said", end)
			}
			if want := e.dialect == sqlstore.MySQL; (m.closed.Load() == 1) != want {
				t.Errorf("%s: %d connections were given up", end, m.closed.Load())
			}
			put(t, s, object(t, tenant(1), "b"))
			if has(t, s, object(t, tenant(1), "a")) {
				t.Error("half a transaction was committed")
			}
		}
	})
}

// TestCommittedInTheEnd ends ctx in the middle of SQLite's COMMIT, and before it:
// the call says what became of it.
func TestCommittedInTheEnd(t *testing.T) {
	where(t, func(d sqlstore.Dialect) bool { return !hasServer(d) }, func(t *testing.T, e engine) {
		for _, at := range []string{"COMMIT", "INSERT INTO"} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, _ := e.meddled(t, func(_ context.Context, query string) error {
				if strings.HasPrefix(query, at) {
					cancel()
				}
				return nil
			})
			_, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{})
			if there := has(t, s, object(t, tenant(1), "a")); there != (err == nil) || there != (at == "COMMIT") {
				t.Errorf("ctx ended at %s: it is there: %v, and reported as %v", at, there, err)
			}
		}
	})
}

// TestBeginOnDeadConnection has the pool give out a connection that is dead: as
// nothing was done on it, the call goes on with another one.
func TestBeginOnDeadConnection(t *testing.T) {
	where(t, byHand, func(t *testing.T, e engine) {
		var dead atomic.Int64
		s, m := e.meddled(t, func(_ context.Context, query string) error {
			if begins(query) && dead.Add(-1) >= 0 {
				return driver.ErrBadConn
			}
			return nil
		})
		dead.Store(2)
		put(t, s, object(t, tenant(1), "a"))
		if n := m.closed.Load(); n != 2 {
			t.Errorf("%d connections were given up", n)
		}
		dead.Store(3)
		_, err := s.PutObject(t.Context(), object(t, tenant(1), "b"), storage.PutGuard{})
		unavailable(t, "no connection is alive", err)
	})
}

func begins(query string) bool {
	return strings.HasPrefix(query, "BEGIN") || strings.HasPrefix(query, "SET TRANSACTION")
}

// TestMemorySurvivesEndOfContext ends ctx as a transaction of SQLite's begins: a
// database in memory is its connection's, and must not be given up with it.
func TestMemorySurvivesEndOfContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ready atomic.Bool
	e := engine{driver: "sqlite", dialect: sqlstore.SQLite, database: func(testing.TB) string { return "file::memory:" }}
	s, m := e.meddled(t, func(_ context.Context, query string) error {
		if ready.Load() && begins(query) {
			cancel()
		}
		return nil
	})
	noError(t, s.Migrate(t.Context())) // the meddler's own database
	ready.Store(true)
	_, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{})
	wantErr(t, err, context.Canceled)
	ready.Store(false)
	put(t, s, object(t, tenant(1), "b"))
	if m.closed.Load() != 0 {
		t.Error("the connection was given up")
	}
}
