// Package vaultpgx stores encrypted fields, [vault.Encrypted], through pgx and through
// the code that sqlc generates for it. A pool, a connection or a transaction is wrapped:
//
//	q := db.New(vaultpgx.Wrap(v, pool)) // db is sqlc's package
//	ctx = vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": org})
//
// Fields among the arguments of a statement are sealed before it is sent: each in its
// place, which [vault.Encrypted.At] or [Sealed] says. Fields that rows are scanned into
// come back sealed, and know their vault and their key context; where they belong,
// [vault.Encrypted.At] or [Table.Bind] says. Nothing is opened before Open is called.
//
//	users, err := vaultpgx.NewTable[db.User](v, "users")
//	…
//	p, err := vaultpgx.Sealed(ctx, users, db.CreateUserParams{ID: id, OrgID: org, Email: vault.Seal(email)})
//	err = q.CreateUser(ctx, p)
//	…
//	bidx, err := users.Lookup(ctx, "email_bidx", email)
//	u, err := q.UserByEmail(ctx, db.UserByEmailParams{OrgID: org, EmailBidx: bidx})
//	err = users.Bind(ctx, &u)
//	email, err := u.Email.Open(ctx)
//
// docs/FIELDS.md has a page to follow, and examples/sqlc a program.
//
// # What is sealed
//
// A vault.Encrypted and a pointer to one, as an argument by itself, in pgx.NamedArgs,
// pgx.StrictNamedArgs and pgx.StructArgs, in the queries of a batch, in the rows of
// CopyFrom, and as elements of a slice, which becomes a bytea[] (for unnest). NULL is
// NULL. What is sealed already is sent as it is if it belongs there. An [Index] becomes
// a blind index. The caller's arguments are never changed, and may be given again: what
// is pending is sealed anew each time.
//
// The error is [vault.ErrNoLocation], [vault.ErrNoContext] or another of
// [vault.FieldBox]'s if a field can't be sealed, and nothing is sent then. [ErrNested]:
// a field inside another value, such as a struct for a JSON column, is refused, since
// encoders write "[ENCRYPTED]" in its place.
//
// All query exec modes of pgx work, and so do its tracers: they get sealed bytes.
//
// # Transactions
//
// What Begin gives is wrapped. A key that isn't in memory is loaded before a connection
// is taken from the pool, so that a vault may keep its keys behind the same pool. Where
// the connection is taken already, in a transaction, in a rewriter of queries that isn't
// pgx's own, while rows are read or copied, a key that has to be loaded needs a second
// connection: call [Table.Prepare] before, or have more connections than transactions.
//
// # Holes
//
//   - Whoever uses the pool itself goes past the wrapper: by (pgx.Tx).Conn or
//     (pgx.Rows).Conn, too. A field that isn't sealed is refused there with
//     [vault.ErrPending], also in every mode, but not as part of a JSON document, for
//     which encoding/json writes "[ENCRYPTED]".
//   - Rows that are read into maps, by pgx.RowToMap or Values, hold sealed bytes:
//     [vault.SealedBytes].
//   - An UPDATE of an encrypted column that leaves its index out makes the index wrong.
//     [Sealed] refuses it, the wrapper can't see it.
//   - ON CONFLICT … DO UPDATE on another target than the primary key would store bytes
//     that belong to the row that was to be inserted in the one that is there; they
//     don't open. Update that row by its key instead.
//   - Arrays of fields of one row are refused, since their elements could change places
//     unnoticed: seal the array as one field.
package vaultpgx
