package sqlcore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
)

// lockFor is how long MySQL waits for another process that migrates, in
// seconds, before Migrate fails with ErrRetry.
const lockFor = 60

// Migrate makes the tables, or brings them up to date: call it before the store
// is used, at each start of the program. It may be called by any number of
// processes at once; those that come later find everything done. A schema that
// a later version made is left alone: [ErrNewerSchema].
//
// In MySQL it also refuses connections that have autocommit off, or READ
// UNCOMMITTED as their isolation level.
//
// It needs the right to create tables. In PostgreSQL and SQLite it is one
// transaction; in MySQL, where DDL can't be undone, a Migrate that was killed
// is completed by the next.
func (s *Store) Migrate(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, "migrate", err)
	}
	return s.fail(ctx, "migrate", s.retry(ctx, func() error { return s.migrate(ctx) }))
}

func (s *Store) migrate(ctx context.Context) error {
	if s.lang.Dialect == MySQL {
		if err := s.checkSession(ctx); err != nil {
			return err
		}
	}
	if v, err := s.version(ctx, s.db); err == nil { // nearly always
		return checkVersion(v)
	} else if !errors.Is(err, ErrNotMigrated) && s.class(err) != NoTable {
		return err
	}
	return s.inTx(ctx, s.db, func(q Querier) error {
		unlock, err := s.lockSchema(ctx, q)
		if err != nil {
			return err
		}
		defer unlock()
		return s.create(ctx, q)
	})
}

// checkSession refuses connections on which what is stored by one statement
// would be acknowledged and never committed, or on which a key is read that is
// never committed: data would be sealed under it.
func (s *Store) checkSession(ctx context.Context) error {
	const vars = "SHOW SESSION VARIABLES WHERE Variable_name IN ('autocommit', 'tx_isolation', 'transaction_isolation')"
	var refused error
	err := s.db.Query(ctx, func(scan func(...any) error) error {
		var name, value []byte
		err := scan(&name, &value)
		switch string(value) {
		case "OFF":
			refused = errors.New("autocommit is off: take it out of the data source name or the server's init_connect")
		case "READ-UNCOMMITTED":
			refused = errors.New("the isolation level is READ UNCOMMITTED: take it out of the data source name or the server's settings")
		}
		return err
	}, vars)
	return errors.Join(err, refused)
}

// version reads the schema's version; ErrNotMigrated if there is none.
func (s *Store) version(ctx context.Context, q Querier) (int64, error) {
	var v int64
	ok, err := s.st.version.row(ctx, q, []any{&v})
	if err == nil && !ok {
		err = ErrNotMigrated
	}
	return v, err
}

func checkVersion(v int64) error {
	if v > schemaVersion {
		return fmt.Errorf("%w: it has version %d, this package knows %d", ErrNewerSchema, v, schemaVersion)
	}
	return nil
}

// create makes the tables, if nobody did before the lock was had.
func (s *Store) create(ctx context.Context, q Querier) error {
	there, err := s.schemaThere(ctx, q)
	if err != nil {
		return err
	}
	if there {
		v, err := s.version(ctx, q)
		if err == nil {
			return checkVersion(v)
		}
		if !errors.Is(err, ErrNotMigrated) {
			return err
		}
	}
	if s.lang.schema != "" {
		if err := s.createSchema(ctx, q); err != nil {
			return err
		}
	}
	for _, ddl := range s.lang.ddl() {
		if _, err := q.Exec(ctx, ddl); err != nil {
			return err
		}
	}
	_, err = q.Exec(ctx, s.lang.firstVersion())
	return err
}

// createSchema asks first: CREATE SCHEMA IF NOT EXISTS needs the right even if
// the schema is there.
func (s *Store) createSchema(ctx context.Context, q Querier) error {
	const is = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {0 text}"
	var one int64
	there, err := s.lang.compile(is).row(ctx, q, []any{&one}, s.lang.schema)
	if err != nil || there {
		return err
	}
	_, err = q.Exec(ctx, s.lang.newSchema())
	return err
}

// schemaThere asks the catalogue: in PostgreSQL a query of a missing table would
// end the transaction.
func (s *Store) schemaThere(ctx context.Context, q Querier) (bool, error) {
	var n int64
	var st stmt
	arg := s.lang.prefix + "schema_version"
	switch s.lang.Dialect {
	case PostgreSQL:
		st, arg = s.lang.compile("SELECT count(to_regclass({0 text}))"), s.lang.table("schema_version")
	case MySQL:
		st = s.lang.compile("SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = {0 text}")
	default:
		st = s.lang.compile("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = {0 text}")
	}
	_, err := st.row(ctx, q, []any{&n}, arg)
	return n > 0, err
}

// lockSchema keeps other processes out until the transaction ends, or unlock is
// called.
func (s *Store) lockSchema(ctx context.Context, q Querier) (unlock func(), err error) {
	name := "vault migrate " + s.lang.table("schema_version")
	switch s.lang.Dialect {
	case PostgreSQL:
		h := fnv.New64a()
		_, _ = h.Write([]byte(name)) // never fails
		_, err = s.lang.compile("SELECT pg_advisory_xact_lock({0 int})").exec(ctx, q, int64(h.Sum64()))
		return func() {}, err
	case MySQL:
		return s.lockMySQL(ctx, q, name[:min(len(name), 64)])
	}
	return func() {}, nil // its writer is alone
}

func (s *Store) lockMySQL(ctx context.Context, q Querier, name string) (unlock func(), err error) {
	var got []byte
	_, err = s.lang.compile(fmt.Sprintf("SELECT GET_LOCK({0 text}, %d)", lockFor)).row(ctx, q, []any{&got}, name)
	if err != nil {
		return nil, err
	}
	if string(got) != "1" {
		return nil, fmt.Errorf("%w: another process has been migrating for %d s", ErrRetry, lockFor)
	}
	// If this fails, so does the end of the transaction, and the connection is
	// given up: the lock goes with it.
	return func() { _, _ = s.lang.compile("SELECT RELEASE_LOCK({0 text})").exec(ctx, q, name) }, nil
}
