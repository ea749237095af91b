// Package pgxstore is a store in PostgreSQL for applications that use pgx
// without database/sql: it works on their *pgxpool.Pool, and joins their
// pgx.Tx.
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	…
//	store, err := pgxstore.New(pool)
//	…
//	err = store.Migrate(ctx)
//	…
//	v, err := vault.New(vault.Config{Store: store, …})
//
// Tables and statements are those of package sqlstore with its PostgreSQL
// dialect: both may work on one database at once, what one has migrated is
// ready for the other, and lists may go on with each other's cursors.
//
// # Transactions of the application
//
//	tx, err := pool.Begin(ctx)
//	…
//	_, err = tx.Exec(ctx, "INSERT INTO users …")
//	_, err = v.Put(store.WithTx(ctx, tx), kc, "api-key", secret)
//	err = tx.Commit(ctx)
//
// Objects are committed with the transaction. Keys never are part of it, and
// need a second connection for a moment: see [Store.WithTx] and [ErrKeyInTx].
// A pool should have more connections (pool_max_conns) than there are
// transactions at a time that may meet a new key context. (To users of the store
// without a vault: an object of a context that has no key yet adds the context's
// row, and whoever else adds it too waits until the transaction ends.)
//
// # How statements are sent
//
// pgx's query exec modes all work: the mode is the pool's
// (default_query_exec_mode). Round trips of a get, a put, a key fetched and a
// key stored, each:
//
//   - cache_statement (pgx's default): 1, and 1 more where a connection meets a
//     statement for the first time;
//   - cache_describe: the same;
//   - exec, simple_protocol: always 1;
//   - describe_exec: 2.
//
// In exec and simple_protocol pgx reads the server's text, and knows only the
// default forms: leave datestyle at ISO and bytea_output at hex.
//
// A put takes 2 to 5 more if another put of the same object comes in between, and
// 2, for savepoints, if it has a unique name in the application's transaction.
// pgxpool itself makes one more round trip to a connection that was idle for
// more than a second (see pgxpool.Config.ShouldPing).
//
// # PgBouncer
//
// In transaction mode use default_query_exec_mode=exec, or simple_protocol.
// Prepared statements stay with one server connection: with PgBouncer before
// 1.21, or without max_prepared_statements, cache_statement fails with errors of
// SQLSTATE 42P05 or 26000; describe_exec fails so always. Nothing else here needs
// a session: no SET, no LISTEN, no session locks.
//
// A key in the application's transaction needs a second server connection.
// PgBouncer's own pool (default_pool_size) must be larger than the number of
// such transactions at a time: the store can't see it, and waits until ctx
// ends or PgBouncer's query_wait_timeout.
//
// # What is assumed of the database
//
// READ COMMITTED, PostgreSQL's default. Stricter defaults work too: their
// serialization failures are retried, outside the application's transactions. A
// replica must not be read from.
//
// # Errors
//
// Whatever keeps the database from answering matches [storage.ErrUnavailable]:
// a connection that can't be made, whatever for, or that broke, a server that
// starts or stops. Whether a write was done is then not known. After a restart
// of the server each connection that the pool still has may fail once. Errors
// of pgx are wrapped: [errors.As] finds *pgconn.PgError. Its fields may hold
// values of rows; what they hold of ours is sealed or a name.
//
// # Limits
//
// An envelope may have 256 MiB, all labels of a version and all wrappings of a
// key 16 MiB together each. Rows of the table of contexts are never removed:
// their pairs say whose data there was.
//
// # Backup
//
// Keys and objects are in one database: pg_dump, and base backups with WAL, are
// consistent. Keys without their objects are harmless; objects without their
// keys are lost: never restore the tables from different moments. What the
// key-encryption keys protect is not readable from a backup.
package pgxstore
