// Package kek defines what a key-encryption key must do, how its errors are
// sorted, and the policy that chooses KEKs for a key context.
//
// A KEK lives in a KMS or a Tink keyset and never leaves it. It wraps context
// keys, 32 bytes each, and unwraps them. The packages below this one are
// drivers; any other type that implements [Wrapper] and passes
// [github.com/embedvault/vault/kek/kektest] serves as well.
package kek

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/embedvault/vault/keyctx"
)

// The classes of a KEK's errors. Every error that a [Wrapper] returns matches
// exactly one of them, and wraps the SDK's own error beside it.
var (
	// ErrDenied says that the KMS answered and will not do it: the key was
	// revoked, disabled, deleted or never granted. It is not retried, and what
	// was cached under the key is dropped.
	ErrDenied = errors.New("KEK denied")

	// ErrUnavailable says that no answer could be had: timeout, throttling,
	// network, a cancelled context. It is retried, and cached keys go on
	// serving for a while.
	ErrUnavailable = errors.New("KEK unavailable")

	// ErrCorrupt says that the wrapped bytes were not made by this KEK with this
	// binding, or that the KMS gave an answer that can't be right.
	ErrCorrupt = errors.New("wrapped key corrupt")
)

// Wrapper is a key-encryption key. Implementations are drivers.
//
// All methods must be safe for concurrent use. Wrap and Unwrap must not keep or
// change the slices they are given, nor return slices that share memory with
// them, and must return when ctx ends, with an error that matches
// [ErrUnavailable] and the context's own. They never return nil bytes with a
// nil error. They must not panic; whatever bytes they are given.
type Wrapper interface {
	// URI names the KEK: "aws-kms://arn:aws:kms:…". It is stored beside every
	// key that the KEK wraps, and compared byte for byte. It must be 1 to 512
	// bytes of printable ASCII without space, the same in every process and for
	// ever, whatever path, alias or key version is behind it, and it must not
	// start with "vault-key:". It does no I/O.
	URI() string

	// Wrap encrypts key, 32 bytes, so that only Unwrap of the same KEK with the
	// same binding gives it back. The result is 1 to 4096 bytes and begins with
	// a format byte that records every choice that unwrapping depends on.
	Wrap(ctx context.Context, key []byte, b Binding) (wrapped []byte, err error)

	// Unwrap decrypts what Wrap returned. If wrapped was not made by this KEK,
	// or with another binding, the error matches [ErrCorrupt]. The caller owns
	// the result and zeroes it. It must not follow anything in wrapped to
	// another key or another address.
	Unwrap(ctx context.Context, wrapped []byte, b Binding) (key []byte, err error)
}

// Rewrapper is a [Wrapper] that can wrap a key anew under the KEK's newest
// version: where the KMS has such a call, without showing the key to this process;
// else by unwrapping and wrapping it here. A driver's documentation says which.
// Optional.
type Rewrapper interface {
	Wrapper

	// Rewrap takes what Wrap of the same KEK returned and returns the same key
	// wrapped under the KEK's newest version with the same binding. The contract
	// of [Wrapper] holds for it in all else.
	Rewrap(ctx context.Context, wrapped []byte, b Binding) (rewrapped []byte, err error)
}

// Checker is a [Wrapper] that can say whether it is usable, without wrapping a
// key: it asks the KMS about its own, or tries it with a few bytes that are no
// key. Optional.
type Checker interface {
	Wrapper

	// Check asks the KMS about the KEK. A key that exists and can't be used is
	// no error; what can't be asked is.
	Check(ctx context.Context) (Status, error)
}

// VersionTeller is a [Wrapper] whose wrapped bytes tell under which version of
// the KEK they were made. Optional; with [Checker] it lets a rewrap of many keys
// skip those that are current without a call.
type VersionTeller interface {
	Wrapper

	// WrappedVersion returns the version, in the form of
	// [Status.PrimaryVersion], or "" if wrapped doesn't tell. It does no I/O and
	// takes any bytes. Nothing proves what it says: whoever writes to the
	// database can change it. It must decide nothing but whether a call is worth
	// making.
	WrappedVersion(wrapped []byte) string
}

// Batcher is a [Wrapper] whose KMS takes many wrapped keys in one call.
// Optional.
type Batcher interface {
	Rewrapper

	// UnwrapBatch is Unwrap of each item, in as few calls as the KMS allows.
	// There is one result for each item, in their order, and each is what Unwrap
	// would have returned: one item that fails is no other's failure. The
	// contract of [Wrapper] holds for it in all else.
	UnwrapBatch(ctx context.Context, items []BatchItem) []BatchResult

	// RewrapBatch is Rewrap of each item, likewise.
	RewrapBatch(ctx context.Context, items []BatchItem) []BatchResult
}

// BatchItem is a wrapped key of a batch and what it is bound to.
type BatchItem struct {
	Wrapped []byte
	Binding Binding
}

// BatchResult is what became of one item: bytes or an error, never both, never
// neither.
type BatchResult struct {
	Bytes []byte
	Err   error
}

// Status is what a [Checker] found. Fields may be added to it.
type Status struct {
	Usable         bool   // it can wrap and unwrap now
	Reason         string // why not, in the KMS's own word: "PendingDeletion"
	PrimaryVersion string // what Wrap uses now; "" where the KMS doesn't tell
	Rotates        bool   // the KMS rotates it by itself
}

// Binding is what a wrapped key is bound to. Drivers hand it to the KMS as
// associated data in whatever form the KMS has: [Binding.AppendBytes] where it takes
// bytes; the fields where it takes pairs.
type Binding struct {
	KeyID       keyctx.KeyID
	ContextHash keyctx.Hash
	Purpose     keyctx.Purpose
	Version     uint32

	// Context is the full key context, reserved pairs and all, for a KMS that
	// logs it (AWS). Its hash is ContextHash. Drivers must not keep or change it.
	Context keyctx.KeyContext
}

// bindingLabel starts the binding's bytes.
const bindingLabel = "vault/v1/wrap"

// AppendBytes appends the binding as bytes to dst:
//
//	"vault/v1/wrap" ‖ key ID ‖ context hash ‖ u8 purpose ‖ u32 version
//
// SPEC: docs/SPEC.md, "Binding".
func (b Binding) AppendBytes(dst []byte) []byte {
	dst = append(dst, bindingLabel...)
	dst = append(dst, b.KeyID[:]...)
	dst = append(dst, b.ContextHash[:]...)
	dst = append(dst, byte(b.Purpose))
	return binary.BigEndian.AppendUint32(dst, b.Version)
}

// Class returns the class that err matches, [ErrDenied], [ErrUnavailable] or
// [ErrCorrupt], or nil for a nil error. An error of no class, which no driver
// should return, counts as unavailable: it says nothing about the key, so it
// must neither drop what is cached nor last for ever.
func Class(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDenied):
		return ErrDenied
	case errors.Is(err, ErrCorrupt):
		return ErrCorrupt
	default:
		return ErrUnavailable
	}
}
