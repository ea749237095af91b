package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/examples/sqlc/db"
	"github.com/embedvault/vault/vaultpgx"
)

// app is the part of an application that has to do with users.
type app struct {
	v     *vault.Vault
	q     *db.Queries
	users *vaultpgx.Table
	lastN int
}

// newApp gives sqlc's queries a pool that seals, and reads the tags of sqlc's struct.
func newApp(v *vault.Vault, pool *pgxpool.Pool) (*app, error) {
	users, err := vaultpgx.NewTable[db.User](v, "users")
	if err != nil {
		return nil, err
	}
	q := db.New(vaultpgx.Wrap(v, pool))
	return &app{v: v, q: q, users: users}, nil
}

// tenant is the key context of a tenant's data.
func tenant(org string) vault.KeyContext { return vault.KeyContext{"organization_id": org} }

type newUser struct{ org, name, email, ssn string }

// create stores a user. Email and number are sealed for this row of these columns.
func (a *app) create(ctx context.Context, u newUser) (id string, err error) {
	user := db.CreateUserParams{ID: a.newID(), OrgID: u.org, Name: u.name, Email: vault.Seal(u.email)}
	if u.ssn != "" {
		user.Ssn = vault.Seal(u.ssn)
	}
	user, err = vaultpgx.Sealed(ctx, a.users, user) // a copy, with the index in its column
	if err != nil {
		return "", err
	}
	return user.ID, a.q.CreateUser(ctx, user)
}

// byEmail finds the user of a tenant who has an e-mail address, in upper or lower case.
func (a *app) byEmail(ctx context.Context, org, email string) (db.User, error) {
	bidx, err := a.users.Lookup(vault.WithKeyContext(ctx, tenant(org)), "email_bidx", email)
	if err != nil {
		return db.User{}, err
	}
	user, err := a.q.UserByEmail(ctx, db.UserByEmailParams{OrgID: org, EmailBidx: bidx})
	if err != nil {
		return db.User{}, err
	}
	return user, a.users.Bind(ctx, &user) // now user.Email.Open(ctx) knows all it needs
}

// page lists users of all tenants. Nothing is decrypted before Open is called.
func (a *app) page(ctx context.Context, after string, size int32) ([]db.ListUsersRow, error) {
	users, err := a.q.ListUsers(ctx, db.ListUsersParams{After: after, PageSize: size})
	if err != nil {
		return nil, err
	}
	return users, a.users.Bind(ctx, users)
}

// setEmail changes an address, and the index with it: without email_bidx among the
// columns of the query Sealed would refuse.
func (a *app) setEmail(ctx context.Context, org, id, email string) error {
	set, err := vaultpgx.Sealed(ctx, a.users, db.SetEmailParams{ID: id, OrgID: org, Email: vault.Seal(email)})
	if err != nil {
		return err
	}
	n, err := a.q.SetEmail(ctx, set)
	if err == nil && n == 0 {
		err = errors.New("there is no such user")
	}
	return err
}

// rotate makes a new key for a tenant, and moves the tenant's rows to it. It can be
// called again, and goes on where it was. Blind indexes have a key of their own, which
// doesn't change.
func (a *app) rotate(ctx context.Context, org string) (moved int, err error) {
	if err := a.v.Rotate(ctx, tenant(org)); err != nil {
		return 0, err
	}
	ctx = vault.WithKeyContext(ctx, tenant(org))
	for after := ""; ; {
		users, err := a.q.ListUsers(ctx, db.ListUsersParams{After: after, PageSize: 500})
		if err != nil || len(users) == 0 {
			return moved, err
		}
		after = users[len(users)-1].ID
		var params []db.ReencryptParams
		for _, u := range users {
			if u.OrgID != org {
				continue
			}
			p := db.ReencryptParams{ID: u.ID, OldEmail: u.Email, OldSsn: u.Ssn}
			if p.Email, err = a.reencrypted(ctx, org, u.Email); err == nil {
				p.Ssn, err = a.reencrypted(ctx, org, u.Ssn)
			}
			if err != nil {
				return moved, err
			}
			params = append(params, p)
		}
		if err := a.store(ctx, params); err != nil {
			return moved, err
		}
		moved += len(params)
	}
}

// reencrypted returns a field under the tenant's newest key.
func (a *app) reencrypted(ctx context.Context, org string, e vault.Encrypted[string]) (vault.Encrypted[string], error) {
	data, err := e.Value()
	if err != nil || data == nil {
		return e, err
	}
	fresh, err := a.v.Reencrypt(ctx, tenant(org), data.([]byte), nil)
	return vault.SealedBytes[string](fresh), err
}

// store writes what was re-encrypted, where the row is still as it was.
func (a *app) store(ctx context.Context, params []db.ReencryptParams) error {
	for i := range params { // bytes stay as they are in their own place
		p := &params[i]
		p.Email, p.OldEmail = p.Email.At("users", "email", p.ID), p.OldEmail.At("users", "email", p.ID)
		p.Ssn, p.OldSsn = p.Ssn.At("users", "ssn", p.ID), p.OldSsn.At("users", "ssn", p.ID)
	}
	var errs []error
	a.q.Reencrypt(ctx, params).Exec(func(_ int, err error) { errs = append(errs, err) })
	return errors.Join(errs...)
}

// newID makes the key of a row in the program, as row binding needs it. In earnest: a
// UUID of version 7.
func (a *app) newID() string {
	a.lastN++
	return fmt.Sprintf("usr_%s_%03d", time.Now().UTC().Format("20060102T150405.000000000"), a.lastN)
}

// reason says why a field can't be opened.
func reason(err error) string {
	switch {
	case errors.Is(err, vault.ErrKeyDisabled):
		return "(cut off)"
	case errors.Is(err, vault.ErrKeyShredded):
		return "(destroyed)"
	}
	return "(can't be read)"
}
