package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"regexp"
	"time"
)

// payment is one that an organisation makes with its API key.
type payment struct {
	ID        string `json:"id"` // the caller's: a second request with it makes no second payment
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Account   string `json:"account,omitempty"`
	Status    string `json:"status,omitempty"`
	Reference string `json:"reference,omitempty"` // the provider's
}

var (
	paymentID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	currency  = regexp.MustCompile(`^[A-Z]{3}$`)
)

// createPayment makes a payment with the organisation's API key. The payment is
// written down before the provider is asked, and no transaction is open meanwhile.
func (a *app) createPayment(w http.ResponseWriter, r *http.Request, t tenant) error {
	var in struct {
		ID       string `json:"id"`
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}
	if err := read(w, r, &in); err != nil {
		return err
	}
	if !paymentID.MatchString(in.ID) || in.Amount <= 0 || !currency.MatchString(in.Currency) {
		return problem{http.StatusUnprocessableEntity, "id, amount and currency are needed"}
	}
	p := payment{ID: in.ID, Amount: in.Amount, Currency: in.Currency, Status: "pending"}
	key, err := a.beginPayment(r.Context(), t, &p)
	if err != nil {
		return err
	}
	// From here on the money may move, and what became of it is written down also if
	// the caller has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	p.Status, p.Reference, err = a.provider.charge(ctx, key, p)
	if err != nil {
		a.log.Warn("payment provider", "request_id", w.Header().Get("X-Request-Id"), "error", err)
	}
	if _, err := a.db.ExecContext(ctx, `UPDATE payments SET status = $1, reference = $2 WHERE tenant_id = $3 AND id = $4`,
		p.Status, p.Reference, t.id, p.ID); err != nil {
		return err
	}
	reply(w, statusOf(p), p)
	return nil
}

// statusOf is the answer's status for a payment that the provider was asked for.
func statusOf(p payment) int {
	switch p.Status {
	case "paid":
		return http.StatusCreated
	case "declined":
		return http.StatusPaymentRequired
	}
	return http.StatusBadGateway
}

// beginPayment writes a payment of the account down and reads the API key to it, in one
// transaction: they belong together also while both are being replaced, and without
// a key there is no payment.
func (a *app) beginPayment(ctx context.Context, t tenant, p *payment) (key secret, err error) {
	err = a.inTx(ctx, t, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO payments (tenant_id, id, account, amount, currency, status, created_at)
			SELECT tenant_id, $1, account, $2, $3, $4, $5 FROM integrations WHERE tenant_id = $6 RETURNING account`,
			p.ID, p.Amount, p.Currency, p.Status, time.Now().Unix(), t.id).Scan(&p.Account)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return problem{http.StatusNotFound, "no account is connected"}
		case isUnique(err):
			return problem{http.StatusConflict, "there is a payment with this id"}
		case err != nil:
			return err
		}
		obj, err := t.secrets.Get(ctx, apiKey)
		key = secret(obj.Value)
		return err
	})
	return key, err
}

// getPayment shows one of the organisation's payments.
func (a *app) getPayment(w http.ResponseWriter, r *http.Request, t tenant) error {
	p := payment{ID: r.PathValue("id")}
	err := a.db.QueryRowContext(r.Context(), `SELECT amount, currency, account, status, reference FROM payments
		WHERE tenant_id = $1 AND id = $2`, t.id, p.ID).Scan(&p.Amount, &p.Currency, &p.Account, &p.Status, &p.Reference)
	if errors.Is(err, sql.ErrNoRows) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, p)
	return nil
}
