// Package vaultsql writes and reads encrypted columns ([vault.Encrypted]) through
// database/sql and sqlx, with any driver.
//
// It has two parts, that work alone and together. [Wrap] puts a layer between
// database/sql and a driver, that seals fields among the arguments of statements, with
// the key context of the statement's ctx:
//
//	db := vaultsql.OpenDB(stdlib.GetConnector(*config), v)
//	ctx = vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": org})
//	note := vault.Seal("…").At("users", "note", id)
//	db.ExecContext(ctx, "UPDATE users SET note = $1 WHERE id = $2", note, id)
//
// A [Model] does the same for whole rows, by the tags of a struct: it knows where each
// field belongs, fills in blind indexes, and binds what was read:
//
//	users, err := vaultsql.NewModel[User](v, "users")
//	row, err := users.Seal(ctx, &u)
//	db.NamedExecContext(ctx, "INSERT INTO users (id, email, email_bidx) VALUES (:id, :email, :email_bidx)", row)
//	db.SelectContext(ctx, &list, "SELECT * FROM users")
//	users.BindAll(ctx, list)
//	email, err := list[0].Email.Open(ctx)
//
// docs/FIELDS.md, "database/sql and sqlx", is a page to follow.
//
// # What it can't do
//
//   - An argument doesn't say for which column it is. A field needs [vault.Encrypted.At],
//     or a Model, or is refused (vault.ErrNoLocation); and a plain string that is written
//     to an encrypted column is stored as it is. Use bytea, blob or varbinary for such
//     columns, and vaulttest.AssertSealed in your tests.
//   - Before Go 1.27 database/sql tells a driver nothing of what rows are scanned into: a
//     field that was read is unbound, and opens only after Bind, or At with a ctx that
//     has vault and key context. Until then Open is an error, and never another value.
//   - Encrypted columns can't be compared with a value. A field among the arguments of a
//     SELECT or a DELETE is refused ([ErrSearch]); in the WHERE of an UPDATE, or of what
//     begins WITH, it is sealed anew, and equals nothing. PostgreSQL functions that are
//     called by SELECT need fields that were sealed before, by [vault.Encrypted.Sealed].
//   - A slice of fields (PostgreSQL's arrays) is not sealed, and fails with
//     vault.ErrPending. So does a field that reaches a driver otherwise: by sqlx.In,
//     which asks for its value early, or by [Unwrap].
//   - An upsert must name the primary key as its conflict target: the row that another
//     one finds may have another ID than the one the fields were sealed for.
//
// # Connections
//
// Fields are sealed while a connection is held, in a transaction if there is one. Keys
// that aren't in memory are loaded then, from the KMS and the vault's store. Where that
// store is on the same database, give it a pool of its own, and where only one can
// write at a time (SQLite), call [vault.Vault.Prepare] and PrepareIndex before BEGIN.
//
// [Wrap] passes on what the driver can do: where it lacks an optional interface of
// database/sql/driver, it is as if it lacked it still. Rows and results are the
// driver's own, so that reading costs nothing more. [Unwrap] gives its connection.
//
// What runs between database/sql and Wrap, such as a driver that logs, sees fields and
// prints "[ENCRYPTED]"; what runs below sees sealed bytes.
package vaultsql
