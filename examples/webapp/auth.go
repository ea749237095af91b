package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/embedvault/vault"
)

// tenant is the organisation that a request was authenticated as. Its handlers have
// no other way to the vault: they can't name somebody else's secret.
type tenant struct {
	id      string
	secrets *vault.Scope
}

// tenant returns the organisation with this ID, which must come from an
// authenticated token and from nowhere else.
func (a *app) tenant(id string) tenant {
	return tenant{id, a.vault.Scope(vault.KeyContext{"organization_id": id})}
}

// authenticate returns the organisation that the request's token belongs to.
func (a *app) authenticate(r *http.Request) (tenant, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return tenant{}, errUnauthorized
	}
	var id string
	err := a.db.QueryRowContext(r.Context(), `SELECT tenant_id FROM tokens WHERE token_hash = $1`, hashToken(token)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return tenant{}, errUnauthorized
	}
	return a.tenant(id), err
}

// hashToken is how a token is stored: who reads the table can't use it. A plain
// hash will do, as a token has too much randomness to be guessed.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// newToken makes an organisation, if it isn't there, and one more token for it.
func (a *app) newToken(ctx context.Context, id, name string) (string, error) {
	if _, err := a.db.ExecContext(ctx, `INSERT INTO tenants (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, id, name); err != nil {
		return "", err
	}
	token := rand.Text()
	_, err := a.db.ExecContext(ctx, `INSERT INTO tokens (token_hash, tenant_id) VALUES ($1, $2)`, hashToken(token), id)
	return token, err
}

// forTenant makes a handler of one that needs to know whose request it is.
func (a *app) forTenant(handle func(http.ResponseWriter, *http.Request, tenant) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := a.authenticate(r)
		if err == nil {
			// Who acts stands in the vault's events, and beside what they store.
			r = r.WithContext(vault.WithActor(r.Context(), "tenant:"+t.id))
			err = handle(w, r, t)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	})
}
