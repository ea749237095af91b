// Package sqlcore is what storage/sqlstore and storage/pgxstore have in common:
// the tables, the statements in three dialects, and what errors mean. A driver
// for it is a [DB].
//
// What keeps concurrent writers apart:
//
//   - Keys, system records and contexts are written by single statements, guarded
//     by unique indexes and revisions.
//   - Whoever writes an object or its versions holds the lock of the object's row
//     (but for [Store.ReplaceEnvelope], which changes one version in place). In
//     PostgreSQL a put is one statement that writes only if the row is still what
//     its snapshot showed: see putPostgres. Elsewhere it is a transaction that
//     locks first: see putInSteps. SQLite has one writer at a time.
//   - What isn't there can't be locked, and isn't (see putLook): where two
//     transactions insert the same, a unique index lets one of them wait, and it
//     then looks again.
//
// Outside transactions of the application's a call is repeated while the database
// asks for that, and never after an outcome that isn't known. Inside, it is one
// try, between savepoints if it is more than a statement; keys go past it on a
// connection of their own, and don't wait long: see keys.
package sqlcore
