package sqltest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// cutter is a proxy. When armed with n it ends the connection instead of passing
// on the server's n-th answer: by a FIN, as when a pooler or the server stops, or
// by a reset.
type cutter struct {
	to    string
	reset bool
	armed atomic.Int32
}

func (c *cutter) serve(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		}()
		go c.answers(in.(*net.TCPConn), out)
	}
}

func (c *cutter) answers(in *net.TCPConn, out net.Conn) {
	defer func() {
		_ = in.Close()
		_ = out.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		if c.armed.Load() > 0 && c.armed.Add(-1) == 0 {
			if c.reset {
				_ = in.SetLinger(0)
			}
			return
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+|localhost:\d+`)

// through returns a store that reaches the database through c, on one
// connection.
func (e engine) through(t *testing.T, c *cutter, dsn string) *sqlstore.Store {
	t.Helper()
	c.to = loopback.FindString(dsn)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go c.serve(l)
	db := e.open(t, strings.Replace(dsn, c.to, l.Addr().String(), 1))
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, e.dialect)
	noError(t, err)
	return s
}

// guarded is a write that, sent again after it was done, is refused by its own
// guard. It is prepared, and looked at, on a connection that isn't cut.
type guarded struct {
	name    string
	prepare func(i int) (write func(s storage.Store) error, done func() bool)
}

func guardedWrites(t *testing.T, direct storage.Store) []guarded {
	ctx := t.Context()
	named := func(kind string, i int) storage.ObjectRecord { return object(t, tenant(1), fmt.Sprint(kind, i)) }
	return []guarded{
		{"put if absent", func(i int) (func(storage.Store) error, func() bool) {
			r := named("new", i)
			return func(s storage.Store) error { return putErr(t, s, r, storage.PutGuard{IfAbsent: true, Now: base}) },
				func() bool { return has(t, direct, r) }
		}},
		{"put if version", func(i int) (func(storage.Store) error, func() bool) {
			old, next := put(t, direct, named("old", i)), named("old", i)
			return func(s storage.Store) error {
					return putErr(t, s, next, storage.PutGuard{IfVersion: old.VersionID, Now: base})
				},
				func() bool {
					got, err := direct.GetObject(ctx, ref(next))
					return err == nil && got.VersionID == next.VersionID
				}
		}},
		{"delete", func(i int) (func(storage.Store) error, func() bool) {
			r := put(t, direct, named("gone", i))
			return func(s storage.Store) error { _, err := s.DeleteObject(ctx, ref(r), storage.ID{}); return err },
				func() bool { return !has(t, direct, r) }
		}},
		{"replace envelope", func(i int) (func(storage.Store) error, func() bool) {
			r, k := put(t, direct, named("sealed", i)), key(t, tenant(1), 1).KeyID
			return func(s storage.Store) error {
					return s.ReplaceEnvelope(ctx, r.ID, r.VersionID, r.KeyID, k, []byte("new"))
				},
				func() bool { n, err := direct.CountByKey(ctx, k); return err == nil && n == 1 }
		}},
		{"insert key", func(i int) (func(storage.Store) error, func() bool) {
			k := key(t, tenant(100+i), 1)
			return func(s storage.Store) error { return s.InsertKey(ctx, k) },
				func() bool { _, err := direct.GetKey(ctx, k.KeyID); return err == nil }
		}},
		{"update key", func(i int) (func(storage.Store) error, func() bool) {
			k := key(t, tenant(200+i), 1)
			noError(t, direct.InsertKey(ctx, k))
			k.Revision = 1
			return func(s storage.Store) error { return s.UpdateKey(ctx, k) },
				func() bool { got, err := direct.GetKey(ctx, k.KeyID); return err == nil && got.Revision == 2 }
		}},
		{"delete key", func(i int) (func(storage.Store) error, func() bool) {
			k := key(t, tenant(300+i), 1)
			noError(t, direct.InsertKey(ctx, k))
			return func(s storage.Store) error { return s.DeleteKey(ctx, k.KeyID, 1) },
				func() bool { _, err := direct.GetKey(ctx, k.KeyID); return errors.Is(err, storage.ErrNotFound) }
		}},
		{"put system record", func(i int) (func(storage.Store) error, func() bool) {
			name := fmt.Sprint("record", i)
			return func(s storage.Store) error {
					_, err := s.PutSystem(ctx, storage.SystemRecord{Name: name, Value: []byte("x")})
					return err
				},
				func() bool { _, err := direct.GetSystem(ctx, name); return err == nil }
		}},
	}
}

// TestLostAnswer loses each answer that a write waits for: what was done may be
// done or not known, and is never said to be refused. database/sql would send
// it again where the driver lets it.
func TestLostAnswer(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		dsn := e.database(t)
		direct, err := sqlstore.New(e.open(t, dsn), e.dialect)
		noError(t, err)
		noError(t, direct.Migrate(t.Context()))
		count := 0
		for _, reset := range []bool{false, true} {
			c := &cutter{reset: reset}
			s := e.through(t, c, dsn)
			for _, w := range guardedWrites(t, direct) {
				for answer := int32(1); ; answer++ {
					count++
					write, done := w.prepare(count)
					until(t, "the store is reached again", func() bool { return s.Ping(t.Context()) == nil })
					c.armed.Store(answer)
					err := write(s)
					lost := c.armed.Swap(0) == 0
					switch {
					case err != nil && !errors.Is(err, storage.ErrUnavailable):
						t.Errorf("%s, answer %d lost: done: %v, and reported as %v", w.name, answer, done(), err)
					case err == nil && !done():
						t.Errorf("%s, answer %d lost: acknowledged and not done", w.name, answer)
					}
					if !lost {
						if answer == 1 {
							t.Errorf("%s: no answer was lost", w.name)
						}
						break
					}
				}
			}
		}
	})
}
