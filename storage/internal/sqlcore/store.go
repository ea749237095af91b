package sqlcore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/embedvault/vault/storage"
)

// Config says what [New] needs.
type Config struct {
	Driver   string // the name in errors, such as "sqlstore"
	Dialect  Dialect
	Prefix   string // of the tables' names; "" is [DefaultPrefix]
	Schema   string // PostgreSQL only; "": by the connection's search_path
	Classify func(error) Class
}

// DefaultPrefix is what the tables' names start with.
const DefaultPrefix = "vault_"

// cursorDriver is the name in cursors: those of one database are good in every
// driver on this package.
const cursorDriver = "sql"

// Store implements [storage.Store] on a [DB]. It keeps nothing in memory but
// the texts of its statements, and is safe for concurrent use.
type Store struct {
	name     string
	db       DB
	lang     lang
	classify func(error) Class
	st       statements
}

var (
	_ storage.Store    = (*Store)(nil)
	_ storage.TxTeller = (*Store)(nil)
)

// New makes a store. It does no I/O.
func New(db DB, c Config) (*Store, error) {
	if !c.Dialect.Valid() {
		return nil, fmt.Errorf("%s: unknown %s", c.Driver, c.Dialect)
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	n := names{schema: c.Schema, prefix: c.Prefix}
	if err := checkNames(c.Dialect, n); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Driver, err)
	}
	s := &Store{name: c.Driver, db: db, lang: lang{c.Dialect, n}, classify: c.Classify}
	s.st = s.lang.statements()
	return s, nil
}

// Ping implements [storage.Store].
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, "ping", err)
	}
	return s.fail(ctx, "ping", s.db.Ping(ctx))
}

// How long a call outside a transaction of the application's tries again when
// the database asks for it, and how long it pauses in between.
const (
	retryFor      = 10 * time.Second
	retryMinPause = time.Millisecond
	retryMaxPause = 100 * time.Millisecond
)

// errRaced says that the rows changed under a call: to be tried again.
var errRaced = errors.New("the rows changed meanwhile")

// retry runs f until it is done, fails for good, or time is up. A unique index
// that refuses what was just found free is a race too: the next try finds who
// won, unless it is the same again.
func (s *Store) retry(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(retryFor)
	pause := retryMinPause
	unique := 0
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		again := errors.Is(err, errRaced)
		if !again && !isOurs(err) {
			switch s.class(err) {
			case Retry:
				again = true
			case Unique:
				unique++
				again = unique <= 3
			}
		}
		if !again || time.Now().After(deadline) {
			return giveUp(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(pause) + time.Microsecond):
		}
		pause = min(2*pause, retryMaxPause)
	}
}

func giveUp(err error) error {
	if errors.Is(err, errRaced) {
		return fmt.Errorf("%w: %w", ErrRetry, err)
	}
	return err
}

// inTx runs f in a transaction of its own.
func (s *Store) inTx(ctx context.Context, on Session, f func(Querier) error) error {
	tx, err := on.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		tx.Rollback(ctx)
		return err
	}
	return tx.Commit(ctx)
}

// objects runs a statement of an object's: in the application's transaction if
// ctx has one, else by itself.
func (s *Store) objects(ctx context.Context, op string, f func(Querier) error) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, op, err)
	}
	if tx := s.db.Joined(ctx); tx != nil {
		return s.fail(ctx, op, giveUp(s.unhidden(tx, f)))
	}
	return s.fail(ctx, op, s.retry(ctx, func() error { return f(s.db) }))
}

// objectsTx runs several statements that take effect together or not at all.
// In the application's transaction they are put between savepoints: it may go
// on, and commit, after an error.
func (s *Store) objectsTx(ctx context.Context, op string, f func(Querier) error) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, op, err)
	}
	return s.fail(ctx, op, s.together(ctx, f))
}

func (s *Store) together(ctx context.Context, f func(Querier) error) error {
	if tx := s.db.Joined(ctx); tx != nil {
		return giveUp(s.joined(ctx, tx, f))
	}
	return s.retry(ctx, func() error { return s.inTx(ctx, s.db, f) })
}

// joined tries once more what a unique index has refused after it was found
// free: what another transaction has committed meanwhile may be the very same.
func (s *Store) joined(ctx context.Context, tx Querier, f func(Querier) error) error {
	call := func() error {
		return s.unhidden(tx, func(q Querier) error { return inSavepoint(ctx, q, f) })
	}
	err := call()
	if err != nil && !isOurs(err) && ctx.Err() == nil && s.class(err) == Unique {
		err = call()
	}
	return err
}

func inSavepoint(ctx context.Context, tx Querier, f func(Querier) error) error {
	if _, err := tx.Exec(ctx, "SAVEPOINT vault_call"); err != nil {
		return err
	}
	if err := f(tx); err != nil {
		// Undone also where ctx has ended. If it can't be, the transaction is
		// broken or gone, and can't commit half of the call.
		_, _ = tx.Exec(context.WithoutCancel(ctx), "ROLLBACK TO SAVEPOINT vault_call")
		return err
	}
	_, err := tx.Exec(ctx, "RELEASE SAVEPOINT vault_call")
	return err
}

// InTx implements [storage.TxTeller].
func (s *Store) InTx(ctx context.Context) bool { return s.db.Joined(ctx) != nil }
