// Package memkek is a KEK in memory, for unit tests.
//
// Its key is random, made by [New], and lost with the process: whatever is
// still wrapped under it then can never be read again. Nothing but tests
// should use it; package tinkkek is the local KEK for everything else.
//
// It can be told to fail in every way that a KMS fails, while it is in use: see
// [KEK.SetFault]. It counts what is asked of it, so that a test can say how
// many calls something may cost.
package memkek

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

var (
	_ kek.Batcher       = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

// KEK is a key-encryption key in memory. It wraps keys of any length. All its
// methods are safe for concurrent use, the switches too. Make one with [New];
// the zero value is not usable.
type KEK struct {
	uri  string
	keys *keyset // shared with peers

	mu sync.Mutex // guards what follows
	switches
	counts
}

// New returns a KEK with a new random key and the URI "mem:" + name. Two KEKs
// of the same name are two keys; for the same key twice use [KEK.Peer].
//
// A name that is empty, or not of printable ASCII without space, or longer than
// 508 bytes gives a KEK whose URI is "", which every policy refuses.
func New(name string) *KEK {
	return &KEK{uri: newURI(name), keys: newKeyset()}
}

func newURI(name string) string {
	uri := "mem:" + name
	if name == "" || !keyctx.ValidURI(uri) {
		return ""
	}
	return uri
}

// Peer returns another KEK on the same key, with the same URI, as another
// process would have it. Rotating one rotates both. The peer has its own
// switches, all off, and its own counters.
func (k *KEK) Peer() *KEK {
	return &KEK{uri: k.uri, keys: k.keys}
}

// URI returns "mem:" and the name.
func (k *KEK) URI() string { return k.uri }

// Wrap implements [kek.Wrapper]. The result is
//
//	u8 0x01 ‖ u32 version ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//
// by AES-256-GCM, whose associated data is the binding's bytes.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	defer k.leave()
	fault, err := k.enter(ctx, opWrap)
	if err != nil {
		return nil, err
	}
	if fault == Garbage {
		return k.keys.garbage(len(key)), nil
	}
	return k.keys.seal(key, b), nil
}

// Unwrap implements [kek.Wrapper].
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	defer k.leave()
	fault, err := k.enter(ctx, opUnwrap)
	if err != nil {
		return nil, err
	}
	if fault == Garbage {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails: crypto/rand crashes the program instead
		return key, nil
	}
	if result := k.unwrapResult(); result != nil {
		return result, nil
	}
	key, ok := k.keys.open(wrapped, b)
	if !ok {
		return nil, k.corrupt(opUnwrap, wrapped)
	}
	return key, nil
}

// Rewrap implements [kek.Rewrapper].
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	defer k.leave()
	fault, err := k.enter(ctx, opRewrap)
	if err != nil {
		return nil, err
	}
	if fault == Garbage {
		return k.keys.garbage(32), nil
	}
	key, ok := k.keys.open(wrapped, b)
	if !ok {
		return nil, k.corrupt(opRewrap, wrapped)
	}
	defer clear(key)
	return k.keys.seal(key, b), nil
}

// UnwrapBatch implements [kek.Batcher]: every item is a call of its own to the
// switches and the counters.
func (k *KEK) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	return each(ctx, items, k.Unwrap)
}

// RewrapBatch implements [kek.Batcher], likewise.
func (k *KEK) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	return each(ctx, items, k.Rewrap)
}

func each(ctx context.Context, items []kek.BatchItem, f func(context.Context, []byte, kek.Binding) ([]byte, error)) []kek.BatchResult {
	results := make([]kek.BatchResult, len(items))
	for i, item := range items {
		results[i].Bytes, results[i].Err = f(ctx, item.Wrapped, item.Binding)
	}
	return results
}

// WrappedVersion implements [kek.VersionTeller].
func (k *KEK) WrappedVersion(wrapped []byte) string {
	if v := versionOf(wrapped); v != 0 {
		return strconv.FormatUint(uint64(v), 10)
	}
	return ""
}

// Check implements [kek.Checker]. A KEK that was told to be [Denied] is there
// and not usable, which is no error. PrimaryVersion counts from "1".
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	defer k.leave()
	fault, err := k.enter(ctx, opCheck)
	if err != nil {
		return kek.Status{}, err
	}
	status := kek.Status{Usable: true, PrimaryVersion: strconv.FormatUint(uint64(k.keys.primary()), 10)}
	if fault == Denied || k.deniesSome() {
		status.Usable, status.Reason = false, "Denied"
	}
	return status, nil
}

// Rotate makes a new version of the key, which wraps from now on. What older
// versions wrapped still unwraps.
func (k *KEK) Rotate() { k.keys.rotate() }

// DestroyOld destroys every version of the key but the newest: what the others
// wrapped, and was not rewrapped since, is corrupt from now on.
func (k *KEK) DestroyOld() { k.keys.destroyOld() }

// corrupt is the error for bytes that this KEK didn't wrap with this binding.
func (k *KEK) corrupt(o op, wrapped []byte) error {
	return fmt.Errorf("memkek: %v of %d bytes with %s: %w", o, len(wrapped), k.uri, kek.ErrCorrupt)
}

// Format prints the URI and nothing else, whatever the verb: the struct leads
// to the key.
func (k *KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.uri) }
