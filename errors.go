package vault

import (
	"errors"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// The errors to test for with errors.Is. They are the same values as those of
// the packages below. An error's text says what was being done and to what, and
// never holds plaintext, key bytes or the values of a key context.
var (
	// What the caller gave is not valid; nothing was done.

	ErrInvalidContext  = keyctx.ErrInvalidContext             // a key context breaks the rules of KeyContext
	ErrInvalidName     = errors.New("invalid object name")    // an object name breaks the rules of Put
	ErrInvalidOption   = errors.New("invalid option")         // an option's value makes no sense
	ErrInvalidCursor   = storage.ErrInvalidCursor             // a list's Cursor is not one of this list's
	ErrTooLarge        = storage.ErrTooLarge                  // longer than MaxPlaintext or MaxObject, or than the store takes
	ErrNoStore         = keyring.ErrNoStore                   // the call needs Config.Store
	ErrNoSelfContained = keyring.ErrNoSelfContained           // SelfContained is set and the context's keys are under a parent
	ErrClosed          = keyring.ErrClosed                    // the vault was closed
	ErrEvent           = errors.New("event was not recorded") // OnEvent failed and FailClosed is set

	// ErrAccessDenied: Config.Authorizer doesn't allow the operation, or could not
	// decide; the error matches its own, too. No key was used and nothing was written.
	ErrAccessDenied = errors.New("access denied")

	// What the caller asked for isn't there, or is in the way.

	ErrNotFound        = storage.ErrNotFound        // no such object, or it has expired
	ErrExists          = storage.ErrExists          // IfAbsent: it is there; UniqueNames: another context has the name
	ErrVersionConflict = storage.ErrVersionConflict // IfVersion: another version is current

	// What was to be decrypted can't be.

	ErrMalformed    = envelope.ErrMalformed   // not an envelope that this call takes
	ErrWrongContext = keyring.ErrWrongContext // its key is another context's
	ErrDecrypt      = envelope.ErrDecrypt     // tampered with, or other associated data; no more is said

	// The key can't be used.

	ErrKeyNotFound    = keyring.ErrKeyNotFound // not in the store: a restored or a wrong database
	ErrKeyDisabled    = keyring.ErrKeyDisabled // until it is enabled again
	ErrKeyShredded    = keyring.ErrKeyShredded // for ever
	ErrKEKDenied      = kek.ErrDenied          // the KMS refuses: revoked, disabled, deleted, not authorised
	ErrKEKUnavailable = kek.ErrUnavailable     // the KMS can't be reached, or is throttling
	ErrKEKCorrupt     = kek.ErrCorrupt         // the wrapped key is damaged, or the KMS gave a wrong answer
	ErrPolicy         = kek.ErrPolicy          // wrapped by KEKs that the policy doesn't name for this context

	// ErrStoreUnavailable: the database can't be reached; whether a write was
	// done is not known.
	ErrStoreUnavailable = storage.ErrUnavailable

	// ErrStoreCorrupt: a stored record can't be read.
	ErrStoreCorrupt = storage.ErrCorrupt
)
