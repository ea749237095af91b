package audit

import (
	"context"
	"errors"

	"github.com/embedvault/vault"
)

// classes are the codes of errors, in the order in which an error that matches several
// is given one: what says most comes first. Codes are added and never renamed.
// SPEC: docs/SPEC.md, "Audit log".
var classes = []struct {
	err  error
	code string
}{
	{vault.ErrAccessDenied, "access_denied"},
	{vault.ErrInvalidContext, "invalid_context"},
	{vault.ErrInvalidName, "invalid_name"},
	{vault.ErrInvalidCursor, "invalid_cursor"},
	{vault.ErrInvalidOption, "invalid_option"},
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
	{vault.ErrClosed, "closed"},
	{vault.ErrRewrapIncomplete, "rewrap_incomplete"},
	{vault.ErrReencryptIncomplete, "reencrypt_incomplete"},
	{vault.ErrKeyInUse, "key_in_use"},
	{vault.ErrShredPending, "shred_pending"},
	{vault.ErrReceipt, "receipt"},
	{vault.ErrMalformed, "malformed"},
	{vault.ErrWrongContext, "wrong_context"},
	{vault.ErrDecrypt, "decrypt"},
	{vault.ErrKeyShredded, "key_shredded"},
	{vault.ErrKeyDisabled, "key_disabled"},
	{vault.ErrKEKDenied, "kek_denied"},
	{vault.ErrKEKUnavailable, "kek_unavailable"},
	{vault.ErrKEKCorrupt, "kek_corrupt"},
	{vault.ErrPolicy, "policy"},
	{vault.ErrKeyNotFound, "key_not_found"},
	{vault.ErrVersionConflict, "version_conflict"},
	{vault.ErrExists, "exists"},
	{vault.ErrNotFound, "not_found"},
	{vault.ErrStoreUnavailable, "store_unavailable"},
	{vault.ErrStoreCorrupt, "store_corrupt"},
	{vault.ErrEvent, "event"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "deadline_exceeded"},
}

// classOther is the code of an error that matches none of the vault's.
const classOther = "other"

// Class returns the stable code of an error of the vault's: "kek_denied" for one that
// matches vault.ErrKEKDenied, and so on; "other" for what matches none of its errors;
// "" for nil.
func Class(err error) string {
	if err == nil {
		return ""
	}
	code := classOther
	_ = guarded(func() error { // errors have methods of their own
		for _, c := range classes {
			if errors.Is(err, c.err) {
				code = c.code
				break
			}
		}
		return nil
	})
	return code
}
