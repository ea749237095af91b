package pgxtest

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
)

// tracer is told by pgx what it sends: statements, and those that are prepared
// or described first.
type tracer struct {
	mu       sync.Mutex // guards the rest
	queries  []string
	prepares int
}

var (
	_ pgx.QueryTracer   = (*tracer)(nil)
	_ pgx.PrepareTracer = (*tracer)(nil)
)

func (r *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, d.SQL)
	return ctx
}

func (r *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *tracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepares++
	return ctx
}

func (r *tracer) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

// take returns what was noted, and forgets it.
func (r *tracer) take() (queries []string, prepares int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	queries, prepares = r.queries, r.prepares
	r.queries, r.prepares = nil, 0
	return queries, prepares
}

// wire counts round trips: writes that follow a read.
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

// TestRoundTrips wants one statement, and one round trip on the wire, for every
// get and every put, whatever the put has to do; and in the modes that ask for
// types first as many more as the package's comment says.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode       pgx.QueryExecMode
		cold, warm int // more round trips
	}{
		{pgx.QueryExecModeCacheStatement, 1, 0},
		{pgx.QueryExecModeCacheDescribe, 1, 0},
		{pgx.QueryExecModeDescribeExec, 1, 1},
		{pgx.QueryExecModeExec, 0, 0},
		{pgx.QueryExecModeSimpleProtocol, 0, 0},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			r := &tracer{}
			var trips atomic.Int64
			s, _ := store(t, mode(c.mode), maxConns(1), func(cfg *pgxpool.Config) {
				cfg.ConnConfig.Tracer = r
				cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					return &wire{Conn: conn, trips: &trips}, err
				}
				cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // the machine may be slow
			})
			seen := map[string]bool{}
			for _, call := range calls(t, s) {
				r.take()
				before := trips.Load()
				err := call.do(t.Context())
				n := int(trips.Load() - before)
				if call.want == nil {
					noError(t, err)
				} else {
					wantErr(t, err, call.want)
				}
				queries, _ := r.take()
				if len(queries) != 1 {
					t.Errorf("%s: %d statements", call.name, len(queries))
					continue
				}
				more := c.warm
				if !seen[queries[0]] {
					more = c.cold
				}
				seen[queries[0]] = true
				if n != 1+more {
					t.Errorf("%s: %d round trips, want %d", call.name, n, 1+more)
				}
			}
		})
	}
}

type call struct {
	name string
	do   func(context.Context) error
	want error
}

// calls are calls that take one statement, for a store with nothing in it.
func calls(t testing.TB, s storage.Store) []call {
	var current storage.ObjectRecord
	put := func(r storage.ObjectRecord, g storage.PutGuard) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			got, err := s.PutObject(ctx, r, g)
			if err == nil {
				current = got
			}
			return err
		}
	}
	get := func(with func() storage.ObjectRef) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.GetObject(ctx, with()); return err }
	}
	a := tenant(1)
	k := key(t, tenant(3), 1)
	return []call{
		{"the first object of a new context", put(object(t, a, "a", unique), now), nil},
		{"a version more", put(object(t, a, "a"), now), nil},
		{"a version more, and the others removed", put(object(t, a, "a"), storage.PutGuard{Now: base, Keep: 1}), nil},
		{"if version", func(ctx context.Context) error {
			return put(object(t, a, "a"), storage.PutGuard{Now: base, IfVersion: current.VersionID})(ctx)
		}, nil},
		{"get by name", get(func() storage.ObjectRef { return ref(current) }), nil},
		{"get by name again", get(func() storage.ObjectRef { return ref(current) }), nil},
		{"get by ID", get(func() storage.ObjectRef { return storage.ObjectRef{ID: current.ID} }), nil},
		{"get a version", get(func() storage.ObjectRef { return storage.ObjectRef{ID: current.ID, Version: current.VersionID} }), nil},
		{"if absent, and it is there", put(object(t, a, "a"), storage.PutGuard{Now: base, IfAbsent: true}), storage.ErrExists},
		{"if version, and it is another", put(object(t, a, "a"), storage.PutGuard{Now: base, IfVersion: storage.NewID(base)}), storage.ErrVersionConflict},
		{"a unique name that is held", put(object(t, tenant(2), "a", unique), now), storage.ErrExists},
		{"one that will expire", put(object(t, a, "e", expires(base.Add(time.Second))), now), nil},
		{"one that has expired is replaced", put(object(t, a, "e"), storage.PutGuard{Now: base.Add(time.Hour)}), nil},
		{"get what isn't there", get(func() storage.ObjectRef { return storage.ObjectRef{ID: storage.NewID(base)} }), storage.ErrNotFound},
		{"insert a key of a new context", func(ctx context.Context) error { return s.InsertKey(ctx, k) }, nil},
		{"get a key", func(ctx context.Context) error { _, err := s.GetKey(ctx, k.KeyID); return err }, nil},
		{"the latest key", func(ctx context.Context) error { _, err := s.LatestKey(ctx, k.ContextHash, k.Purpose); return err }, nil},
	}
}

// TestTracerSeesNoValues wants values to be parameters, in the text of no
// statement.
func TestTracerSeesNoValues(t *testing.T) {
	t.Parallel()
	r := &tracer{}
	s, _ := store(t, func(cfg *pgxpool.Config) { cfg.ConnConfig.Tracer = r })
	r.take()
	put(t, s, object(t, tenant(1), "it's a name; --", unique))
	_, err := s.GetObjects(t.Context(), hashOf(t, tenant(1)), []string{"it's a name; --"}, base)
	noError(t, err)
	queries, _ := r.take()
	for _, q := range queries {
		for _, value := range []string{"it's", "org_000001", "organization_id", "sealed"} {
			if strings.Contains(q, value) {
				t.Errorf("%q is in the text of a statement", value)
			}
		}
	}
}
