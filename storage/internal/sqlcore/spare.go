package sqlcore

import (
	"context"
	"fmt"
	"time"
)

// spareWait is how long a call for a key waits for a second connection while
// the application holds one with a transaction, and on it for a lock. If all
// connections are held by such transactions, none comes free; if the lock is
// held by the application's own transaction, that waits for the call.
const spareWait = 5 * time.Second

// keys runs statements of keys and system records: never in the application's
// transaction. What keeps them from running beside it is ErrKeyInTx, soon and
// not after a deadlock.
func (s *Store) keys(ctx context.Context, op string, write bool, f func(Session) error) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, op, err)
	}
	if s.db.Joined(ctx) == nil {
		return s.fail(ctx, op, s.retry(ctx, func() error { return f(s.db) }))
	}
	if s.db.MaxConns() == 1 || write && s.lang.Dialect == SQLite {
		return s.fail(ctx, op, ErrKeyInTx)
	}
	var spare Session
	var release func()
	err := s.patiently(ctx, "a connection", func(ctx context.Context) (err error) {
		spare, release, err = s.db.Acquire(ctx)
		return err
	})
	if err != nil {
		return s.fail(ctx, op, err)
	}
	defer release()
	started := time.Now()
	return s.fail(ctx, op, s.retry(ctx, func() error { return s.inVain(started, f(spare)) }))
}

// inVain is the error of a call that runs beside the application's transaction.
// What it waited for in vain isn't tried again: in SQLite at once, elsewhere once
// it has waited for as long as a lock is waited for, be it in pieces. A deadlock
// that the database has seen is.
func (s *Store) inVain(started time.Time, err error) error {
	if err == nil || isOurs(err) || s.class(err) != Retry {
		return err
	}
	if s.lang.Dialect == SQLite || time.Since(started) >= spareWait {
		return fmt.Errorf("%w: %w", ErrKeyInTx, err)
	}
	return err
}

// patiently runs f, which waits for what the application's transaction may
// hold, with a ctx that ends after spareWait.
func (s *Store) patiently(ctx context.Context, what string, f func(context.Context) error) error {
	waiting, cancel := context.WithTimeout(ctx, spareWait)
	defer cancel()
	err := f(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %s wasn't to be had for %v: %w", ErrKeyInTx, what, spareWait, err)
	}
	return err
}
