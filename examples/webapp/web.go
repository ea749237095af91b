package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/embedvault/vault"
)

// problem is an error that the caller is told of in these words.
type problem struct {
	status int
	text   string
}

func (p problem) Error() string { return p.text }

var (
	errUnauthorized = problem{http.StatusUnauthorized, "a valid bearer token is needed"}
	errBody         = problem{http.StatusBadRequest, "the body is not the JSON that is wanted here"}
	errNotFound     = problem{http.StatusNotFound, "not found"}
)

// problemOf says what the caller is told of an error: of most nothing, as it is
// none of their business.
func problemOf(err error) problem {
	var p problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, vault.ErrNotFound):
		return errNotFound
	case errors.Is(err, vault.ErrKEKDenied):
		return problem{http.StatusForbidden, "your organisation's encryption key may not be used"}
	case errors.Is(err, vault.ErrKEKUnavailable), errors.Is(err, vault.ErrStoreUnavailable), passing(err):
		return problem{http.StatusServiceUnavailable, "try again in a moment"}
	}
	return problem{http.StatusInternalServerError, "internal error"}
}

// fail answers with an error, and logs those that are ours. The vault's errors are
// made to be logged: there is no secret in them.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.status >= http.StatusInternalServerError {
		a.log.Error("request failed", "request_id", w.Header().Get("X-Request-Id"), "pattern", r.Pattern, "error", err)
	}
	reply(w, p.status, map[string]string{"error": p.text})
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone: nobody is left to be told
}

// read reads the body's JSON. What is wrong with it is not repeated to anyone: it
// may be a secret.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errBody
	}
	return nil
}

// secret is a string that prints as something else, so that a struct with one in it
// can be logged by mistake.
type secret string

// Format implements [fmt.Formatter].
func (secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// MarshalJSON implements [json.Marshaler].
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }

// logged logs every request, by its route: paths and queries are the caller's words.
func (a *app) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, began := rand.Text(), time.Now()
		w.Header().Set("X-Request-Id", id)
		rec := &recorder{w, http.StatusOK}
		next.ServeHTTP(rec, r)
		a.log.Info("request", "request_id", id, "method", r.Method, "pattern", r.Pattern,
			"status", rec.status, "duration", time.Since(began))
	})
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
