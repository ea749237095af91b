package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"regexp"
	"time"
)

// apiKey is what an organisation's secret is called in the vault. The name is the
// same for all of them: they are told apart by whose it is.
const apiKey = "payment-provider/api-key"

// integration is an organisation's account at the payment provider. The key to it
// is in the vault.
type integration struct {
	Account   string    `json:"account"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   uint64    `json:"version,omitempty"` // of the API key
}

var (
	account      = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	printableKey = regexp.MustCompile(`^[!-~]{1,512}$`) // it goes into a header
)

// putIntegration stores an API key, or a new one in place of the old, together with
// the account's row.
func (a *app) putIntegration(w http.ResponseWriter, r *http.Request, t tenant) error {
	var in struct {
		Account string `json:"account"`
		APIKey  secret `json:"api_key"`
	}
	if err := read(w, r, &in); err != nil {
		return err
	}
	if !account.MatchString(in.Account) || !printableKey.MatchString(string(in.APIKey)) {
		return problem{http.StatusUnprocessableEntity, "account and api_key are needed"}
	}
	out := integration{Account: in.Account, UpdatedAt: time.Now().UTC().Truncate(time.Second)}
	err := a.inTx(r.Context(), t, func(ctx context.Context, tx *sql.Tx) error {
		meta, err := t.secrets.Put(ctx, apiKey, []byte(in.APIKey))
		if err != nil {
			return err
		}
		out.Version = meta.Number
		_, err = tx.ExecContext(ctx, `INSERT INTO integrations (tenant_id, account, updated_at) VALUES ($1, $2, $3)
			ON CONFLICT (tenant_id) DO UPDATE SET account = excluded.account, updated_at = excluded.updated_at`,
			t.id, out.Account, out.UpdatedAt.Unix())
		if isUnique(err) { // somebody else's account: the key that was just put is rolled back
			return problem{http.StatusConflict, "this account is connected already"}
		}
		return err
	})
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, out)
	return nil
}

// getIntegration says that there is an API key, and never what it is.
func (a *app) getIntegration(w http.ResponseWriter, r *http.Request, t tenant) error {
	var out integration
	var at int64
	err := a.db.QueryRowContext(r.Context(), `SELECT account, updated_at FROM integrations WHERE tenant_id = $1`, t.id).Scan(&out.Account, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	out.UpdatedAt = time.Unix(at, 0).UTC()
	reply(w, http.StatusOK, out)
	return nil
}

// deleteIntegration removes the API key, all its versions, and the account's row.
func (a *app) deleteIntegration(w http.ResponseWriter, r *http.Request, t tenant) error {
	err := a.inTx(r.Context(), t, func(ctx context.Context, tx *sql.Tx) error {
		if err := t.secrets.Delete(ctx, apiKey); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM integrations WHERE tenant_id = $1`, t.id)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
