package vaultsqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultsql"
)

const schema = `CREATE TABLE users (
	id         TEXT PRIMARY KEY,
	org_id     TEXT NOT NULL,
	email      BLOB,
	email_bidx BLOB,
	note       BLOB,
	UNIQUE (org_id, email_bidx)
)`

// User is a row of users.
type User struct {
	ID        string                  `db:"id"`
	OrgID     string                  `db:"org_id" vault:"context:organization_id=OrgID"`
	Email     vault.Encrypted[string] `db:"email" vault:"index:email_bidx,email@1,unique"`
	EmailBidx []byte                  `db:"email_bidx"`
	Note      vault.Encrypted[string] `db:"note"`
}

// Users are the users of all tenants.
type Users struct {
	db    *sqlx.DB
	v     *vault.Vault
	model *vaultsql.Model[User]
}

func newUsers(db *sqlx.DB, v *vault.Vault) (*Users, error) {
	model, err := vaultsql.NewModel[User](v, "users")
	return &Users{db, v, model}, err
}

func (s *Users) create(ctx context.Context, u User) error {
	row, err := s.model.Seal(ctx, &u)
	if err != nil {
		return err
	}
	_, err = s.db.NamedExecContext(ctx, `INSERT INTO users (id, org_id, email, email_bidx, note)
		VALUES (:id, :org_id, :email, :email_bidx, :note)`, row)
	return err
}

func (s *Users) byEmail(ctx context.Context, org, email string) (User, error) {
	var u User
	ctx = vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": org})
	index, err := s.model.Index(ctx, "email_bidx", email)
	if err != nil {
		return u, err
	}
	err = s.db.GetContext(ctx, &u, s.db.Rebind("SELECT * FROM users WHERE org_id = ? AND email_bidx = ?"), org, index)
	s.model.Bind(ctx, &u)
	return u, err
}

func (s *Users) page(ctx context.Context, after string) ([]User, error) {
	var us []User
	err := s.db.SelectContext(ctx, &us, s.db.Rebind("SELECT * FROM users WHERE id > ? ORDER BY id LIMIT 100"), after)
	s.model.BindAll(ctx, us) // opens nothing
	return us, err
}

func (s *Users) setNote(ctx context.Context, org, id, text string) error {
	ctx = vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": org})
	note := vault.Seal(text).AtLocation(s.model.At("note", id))
	_, err := s.db.ExecContext(ctx, s.db.Rebind("UPDATE users SET note = ? WHERE id = ? AND org_id = ?"), note, id, org)
	return err
}

// reencrypt moves a tenant's notes to the key of the last rotation. It can be stopped,
// and run again.
func (s *Users) reencrypt(ctx context.Context, org string) error {
	kc := vault.KeyContext{"organization_id": org}
	var rows []struct {
		ID   string `db:"id"`
		Note []byte `db:"note"` // as it is stored
	}
	err := s.db.SelectContext(ctx, &rows, s.db.Rebind("SELECT id, note FROM users WHERE org_id = ? AND note IS NOT NULL"), org)
	if err != nil {
		return err
	}
	for _, r := range rows {
		needs, err := s.v.NeedsReencrypt(ctx, kc, r.Note)
		if err != nil {
			return err
		}
		if !needs {
			continue
		}
		sealed, err := s.v.Reencrypt(ctx, kc, r.Note, nil)
		if err != nil {
			return err
		}
		// A row that somebody has written meanwhile is left alone: it has the new key.
		_, err = s.db.ExecContext(ctx, s.db.Rebind("UPDATE users SET note = ? WHERE id = ? AND note = ?"), sealed, r.ID, r.Note)
		if err != nil {
			return err
		}
	}
	return nil
}

// An application on sqlx: create, query by e-mail, list without decrypting, update,
// rotate, and cut off a tenant.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "vaultsql")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	v, err := vault.New(vault.Config{KEK: memkek.New("example"), Store: memstore.New()})
	check(err)
	defer func() { _ = v.Close() }()

	plain, err := vaultsql.Open("sqlite", "file:"+filepath.Join(dir, "app.db"), v)
	check(err)
	db := sqlx.NewDb(plain, "sqlite3")
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, schema)
	check(err)
	users, err := newUsers(db, v)
	check(err)

	check(users.create(ctx, User{ID: "u1", OrgID: "acme", Email: vault.Seal("Ann@example.org"), Note: vault.Seal("likes tea")}))
	check(users.create(ctx, User{ID: "u2", OrgID: "initech", Email: vault.Seal("bob@example.org")}))

	ann, err := users.byEmail(ctx, "acme", "ann@EXAMPLE.org")
	check(err)
	email, err := ann.Email.Open(ctx)
	check(err)
	fmt.Println(ann.ID, email, "prints as", ann.Email)

	check(users.setNote(ctx, "acme", "u1", "likes coffee"))
	check(v.Rotate(ctx, vault.KeyContext{"organization_id": "acme"}))
	check(users.reencrypt(ctx, "acme"))

	_, err = v.Shred(ctx, vault.KeyContext{"organization_id": "initech"}, vault.ShredOptions{Reason: "contract ended"})
	check(err)
	page, err := users.page(ctx, "")
	check(err)
	for _, u := range page {
		_, err := u.Email.Open(ctx)
		note, noteErr := u.Note.Open(ctx)
		fmt.Println(u.ID, "shredded:", errors.Is(err, vault.ErrKeyShredded), "note:", note, noteErr == nil)
	}
	_, err = users.byEmail(ctx, "nobody", "ann@example.org")
	fmt.Println("a tenant without an index:", errors.Is(err, vault.ErrKeyNotFound))
	_, err = users.byEmail(ctx, "acme", "eve@example.org")
	fmt.Println("no such user:", errors.Is(err, sql.ErrNoRows))

	// Output:
	// u1 Ann@example.org prints as [ENCRYPTED]
	// u1 shredded: false note: likes coffee true
	// u2 shredded: true note:  false
	// a tenant without an index: true
	// no such user: true
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
