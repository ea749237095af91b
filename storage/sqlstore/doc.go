// Package sqlstore is a store in PostgreSQL, MySQL, MariaDB or SQLite, on the
// application's own *sql.DB and with the driver of its choice: this package
// imports none.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	…
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL)
//	…
//	err = store.Migrate(ctx)
//	…
//	v, err := vault.New(vault.Config{Store: store, …})
//
// # Transactions of the application
//
//	err := v.Prepare(ctx, kc) // optional; needed in SQLite
//	tx, err := db.BeginTx(ctx, nil)
//	…
//	_, err = tx.ExecContext(ctx, "INSERT INTO users …")
//	_, err = v.Put(store.WithTx(ctx, tx), kc, "api-key", secret)
//	err = tx.Commit()
//
// Objects are committed with the transaction. Keys never are part of it: see
// [Store.WithTx] and [ErrKeyInTx]. (To users of the store without a vault: an
// object of a context that has no key yet adds the context's row, and whoever else
// adds it too waits until the transaction ends.)
//
// # Drivers
//
// Tested with, on real servers:
//
//   - PostgreSQL 15: github.com/jackc/pgx/v5/stdlib and github.com/lib/pq. Errors
//     are recognised by their SQLState method. pgx keeps statements prepared: one
//     round trip each. Behind PgBouncer in transaction mode follow pgx's advice
//     (default_query_exec_mode=exec); nothing here needs a session. In that mode
//     and in simple_protocol pgx reads the server's text, and knows only the
//     default forms: leave datestyle at ISO and bytea_output at hex. With lib/pq a
//     call ends with its ctx only while the server can be reached: on a network
//     that swallows packets it waits for TCP, so set tcp_user_timeout there, or
//     use pgx. A connection that the server has ended while it was idle lib/pq
//     finds out by the next statement: reads go on to another one, a write fails
//     with [storage.ErrUnavailable], since it might have been done.
//   - MariaDB 10.11: github.com/go-sql-driver/mysql. Its errors are recognised by
//     the number their text starts with. With interpolateParams=true each
//     statement is one round trip, else two.
//   - SQLite: modernc.org/sqlite and github.com/mattn/go-sqlite3. Open it with
//     WAL and a busy timeout, such as _pragma=journal_mode(WAL) and
//     _pragma=busy_timeout(5000) (mattn: _journal_mode=WAL&_busy_timeout=5000).
//     3.37 or later. With mattn a call that waits for another writer ends when
//     the busy timeout does, not when its ctx does.
//
// For others see [Options.Classify].
//
// # What is assumed of the database
//
//   - PostgreSQL: READ COMMITTED, its default. Stricter levels work too: their
//     serialization failures are retried. A replica must not be read from.
//   - MySQL, MariaDB: InnoDB, autocommit on, an isolation level other than READ
//     UNCOMMITTED (a key that is then rolled back would be used), and
//     binlog_format ROW or MIXED. [Store.Migrate] refuses connections whose
//     settings differ in the first two. The store's own transactions run at READ
//     COMMITTED; joined ones at the application's level, with locking reads where
//     they decide something. At REPEATABLE READ a list by pairs or namespace in a
//     joined transaction leaves out contexts that came after its snapshot, also
//     those of its own new objects: get these by name, or by context hash.
//     max_allowed_packet must hold the largest value twice over.
//   - SQLite: its own transactions are writers from their beginning. One process
//     at a time writes; others wait.
//
// Round trips (statements, where the driver needs no more than one for each): a
// get is 1. A put is 1 in PostgreSQL, and 2 to 5 more if another put of the same
// object comes in between; in MySQL and SQLite it is begin, 3 statements,
// commit, with 2 statements more for the first object of a context, 1 for a
// unique name, and 2 where Keep removes versions. A joined transaction has 2 for
// savepoints instead of begin and commit, in PostgreSQL only around a unique name,
// and in MySQL 1 more for an object that is there. A key is 1 to fetch and 1 to
// store in PostgreSQL.
//
// # Limits
//
// An envelope may have 256 MiB, all labels of a version and all wrappings of a
// key 16 MiB together each, beside the database's own limits. Rows of the table of contexts are
// never removed: their pairs say whose data there was. Times are kept to the
// microsecond: as timestamptz in PostgreSQL, as microseconds since 1970 in
// MySQL and SQLite, whose types would depend on settings of your connections.
//
// # Backup
//
// Keys and objects are in one database: what the database's own tools back up
// consistently (pg_dump, base backups with WAL, mariadb-dump
// --single-transaction, SQLite's backup) is consistent here. Keys without their
// objects are harmless; objects without their keys are lost: never restore the
// tables from different moments. What the key-encryption keys protect is not
// readable from a backup.
package sqlstore
