package vaultotel

import (
	"context"
	"errors"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
)

// other is for what isn't known, or isn't told apart: the word of OpenTelemetry's
// semantic conventions for it.
const other = "_OTHER"

// classes are the sentinels and their words. Where an error matches more than one it
// is the first that counts: what the caller did wrong, then verdicts on the key, then
// what couldn't be reached, and last what only says how far a job came.
var classes = []struct {
	err  error
	name string
}{
	{vault.ErrClosed, "closed"},
	{vault.ErrAccessDenied, "access_denied"},
	{vault.ErrInvalidContext, "invalid_context"},
	{vault.ErrInvalidName, "invalid_name"},
	{vault.ErrInvalidOption, "invalid_option"},
	{vault.ErrInvalidCursor, "invalid_cursor"},
	{vault.ErrNoContext, "no_context"},
	{vault.ErrContextConflict, "context_conflict"},
	{vault.ErrNoVault, "no_vault"},
	{vault.ErrNoLocation, "no_location"},
	{vault.ErrInvalidLocation, "invalid_location"},
	{vault.ErrUnsupportedType, "unsupported_type"},
	{vault.ErrInvalidIndex, "invalid_index"},
	{vault.ErrNotIndexable, "not_indexable"},
	{vault.ErrModel, "model"},
	{vault.ErrNull, "null"},
	{vault.ErrPending, "pending"},
	{vault.ErrRedacted, "redacted"},
	{vault.ErrWrongLocation, "wrong_location"},
	{vault.ErrWrongType, "wrong_type"},
	{vault.ErrTooLarge, "too_large"},
	{vault.ErrNoStore, "no_store"},
	{vault.ErrNoSelfContained, "no_self_contained"},
	{vault.ErrMalformed, "malformed"},
	{vault.ErrReceipt, "receipt"},

	{vault.ErrKeyShredded, "key_shredded"},
	{vault.ErrKeyDisabled, "key_disabled"},
	{vault.ErrKeyNotFound, "key_not_found"},
	{vault.ErrKEKDenied, "kek_denied"},
	{vault.ErrPolicy, "policy"},
	{vault.ErrWrongContext, "wrong_context"}, // before kek_corrupt: of a self-contained envelope it is both
	{vault.ErrDecrypt, "decrypt"},
	{vault.ErrKEKCorrupt, "kek_corrupt"},
	{vault.ErrStoreCorrupt, "store_corrupt"},

	{vault.ErrKEKUnavailable, kekUnavailable},
	{vault.ErrStoreUnavailable, storeUnavailable},
	{storage.ErrClosed, "store_closed"},

	{vault.ErrExists, "exists"},
	{vault.ErrVersionConflict, "version_conflict"},
	{vault.ErrNotFound, "not_found"},
	{vault.ErrShredPending, "shred_pending"},
	{vault.ErrKeyInUse, "key_in_use"},
	{vault.ErrRewrapIncomplete, "rewrap_incomplete"},
	{vault.ErrReencryptIncomplete, "reencrypt_incomplete"},
	{vault.ErrEvent, "event"},
}

const (
	kekUnavailable   = "kek_unavailable"
	storeUnavailable = "store_unavailable"
)

// answers are the classes that say how things are, and not that something failed.
var answers = map[string]bool{"not_found": true, "exists": true, "version_conflict": true}

// class returns an error's class: one of a few words, "" for nil, whatever its text.
func class(err error) string {
	if err == nil {
		return ""
	}
	name := sentinel(err)
	switch {
	case name != "" && name != kekUnavailable && name != storeUnavailable:
		return name
	case errors.Is(err, context.Canceled): // whoever asked has left: no word about who was asked
		return "canceled"
	case name != "":
		return name
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline_exceeded"
	}
	return other
}

func sentinel(err error) string {
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return ""
}
