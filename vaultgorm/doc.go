// Package vaultgorm stores [vault.Encrypted] fields through GORM: sealed when they are
// written, bound to their row when they are read, searched by blind indexes.
//
//	type User struct {
//		ID        string                  `gorm:"primaryKey"`
//		OrgID     string                  `vault:"context:organization_id=OrgID"`
//		Email     vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1"`
//		EmailBidx []byte                  `gorm:"size:16;index"`
//	}
//	err := db.Use(vaultgorm.Plugin{Vault: v, Models: []any{&User{}}})
//
//	db.WithContext(ctx).Create(&User{ID: id, OrgID: org, Email: vault.Seal("ann@example.org")})
//	db.WithContext(ctx).Where(vaultgorm.Eq("Email", "ANN@example.org")).First(&u)
//	email, err := u.Email.Open(ctx)
//
// docs/FIELDS.md has a page of it, and says of each call of GORM what becomes of
// encrypted columns. The tags are those of [vault.ParseModel].
//
// # How it works
//
// GORM has serializers, and skips them in updates by map and by column, asks them again
// for its log, and drops their errors in conditions. So the serializer of this package
// only reads, and refuses to give a value. The plugin seals in GORM's clauses instead,
// VALUES and SET, which everything that is stored passes once. A value that isn't a
// sealed field is refused there; the log, and prepared statements, see sealed bytes.
//
// Nothing that the caller gave is written to: a field stays the value it was, and a
// column of an index stays empty until the row is read. (GORM itself does write to
// models: keys and times, and in an update by Model what is assigned.)
//
// # Limits
//
// The plugin doesn't understand SQL that the caller writes: conditions, Exec, ORDER BY
// and GROUP BY of encrypted columns go through as they are. A sealed argument of it
// needs [vault.Encrypted.At].
//
// Save of a row that was read without some of its encrypted columns writes NULL into
// them, as GORM does with every column.
//
// A DryRun seals, and so needs the vault. Keys are made on first use, in the midst of a
// transaction perhaps; the vault's records aren't part of it. If they lie in the same
// database and that has one connection, call [vault.Vault.Prepare] and
// [vault.Vault.PrepareIndex] before the transaction.
//
// A row doesn't change its tenant by an upsert or by an association: the columns that
// the key context is from keep what the row has, unless all its encrypted columns are
// written too. An update under another key context affects no row, and an upsert fails
// with ErrOtherOwner; so it is with a key in another spelling, on MySQL and SQLite.
//
// Where db.Table(…) is more than a name with an alias, any column that has the name of
// an encrypted one of any model is refused in writes.
//
// Dialects whose driver doesn't build its INSERT from GORM's clauses (sqlserver) fail
// closed: nothing is stored. Tested are PostgreSQL, MariaDB and SQLite.
package vaultgorm
