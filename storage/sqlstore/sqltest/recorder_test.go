package sqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// recorder notes the statements that go to a real driver, with their arguments.
type recorder struct {
	mu   sync.Mutex
	list []recorded
}

type recorded struct {
	text string
	args []driver.NamedValue
}

func (r *recorder) note(text string, args []driver.NamedValue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, recorded{text, append([]driver.NamedValue(nil), args...)})
}

// take returns what was noted, and forgets it.
func (r *recorder) take() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.list
	r.list = nil
	return l
}

// recordingConnector opens connections of a driver and notes what goes through.
type recordingConnector struct {
	r      *recorder
	driver driver.Driver
	dsn    string
}

func (c *recordingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &recordingConn{conn, c.r}, nil
}

func (c *recordingConnector) Driver() driver.Driver { return c.driver }

type recordingConn struct {
	driver.Conn
	r *recorder
}

func (c *recordingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.r.note(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *recordingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.r.note(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *recordingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.r.note("PREPARE "+query, nil)
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *recordingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.r.note("BEGIN", nil)
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *recordingConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// recording opens a pool whose statements are noted.
func (e engine) recording(t testing.TB, dsn string) (*sql.DB, *recorder) {
	t.Helper()
	r := &recorder{}
	plain := e.open(t, dsn)
	db := sql.OpenDB(&recordingConnector{r, plain.Driver(), dsn + e.options})
	t.Cleanup(func() { _ = db.Close() })
	return db, r
}

// wire counts round trips on PostgreSQL's connections: writes after reads.
type wire struct {
	net.Conn
	trips *atomic.Int64
	wrote atomic.Bool
}

func (w *wire) Write(b []byte) (int, error) {
	if !w.wrote.Swap(true) {
		w.trips.Add(1)
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.wrote.Store(false)
	}
	return n, err
}

// countingPool is a pool of pgx on one connection, and its count of round trips.
func countingPool(t testing.TB, dsn string) (*sql.DB, *atomic.Int64) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	noError(t, err)
	trips := &atomic.Int64{}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &wire{Conn: c, trips: trips}, err
	}
	never := func(context.Context, stdlib.ShouldPingParams) bool { return false } // the machine may be slow
	db := stdlib.OpenDB(*cfg, stdlib.OptionShouldPing(never))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db, trips
}

// usual is how a statement starts.
func usual(s string) string {
	return strings.Join(strings.Fields(s)[:min(6, len(strings.Fields(s)))], " ")
}
