package tinkkek

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/embedvault/vault/kek"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// New returns a KEK of a keyset that was read elsewhere. Its keys must be AEAD
// keys that work in this process: one that is a reference to a KMS matches
// [ErrKeyset], see [FromKMSClient]. It does no I/O, and what becomes of the
// keyset is the caller's to care for.
func New(h *keyset.Handle, o Options) (*KEK, error) {
	o, err := o.forHandle()
	if err != nil {
		return nil, err
	}
	k, err := newKeys(h)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: %w", err)
	}
	return newLocal(k, nil, o), nil
}

// newLocal returns the KEK of a keyset; file is nil if it has none.
func newLocal(k *keys, f *file, o Options) *KEK {
	l := &local{file: f}
	l.keys.Store(k)
	return &KEK{uri: keysetScheme + o.Name, engine: l}
}

// local is the engine of keysets.
type local struct {
	file *file // nil: the keyset never changes

	keys   atomic.Pointer[keys]
	reload sync.Mutex // held while the file is read
}

func (l *local) encrypt(ctx context.Context, plaintext, ad []byte) ([]byte, error) {
	k, err := l.fresh(ctx)
	if err != nil {
		return nil, err
	}
	ciphertext, err := k.aead.Encrypt(plaintext, ad)
	if err != nil {
		return nil, fail(kek.ErrCorrupt, err)
	}
	return ciphertext, nil
}

func (l *local) decrypt(ctx context.Context, ciphertext, ad []byte) ([]byte, error) {
	k := l.keys.Load()
	key, err := k.aead.Decrypt(ciphertext, ad)
	if err == nil {
		return key, nil
	}
	there, enabled := k.named(ciphertext)
	if !enabled && l.file != nil {
		newer, freshErr := l.fresh(ctx)
		if freshErr != nil {
			// The file may have the key: this is not the time to call it corrupt.
			return nil, freshErr
		}
		if newer != k {
			if key, err = newer.aead.Decrypt(ciphertext, ad); err == nil {
				return key, nil
			}
			there, enabled = newer.named(ciphertext)
		}
	}
	if there && !enabled {
		return nil, fmt.Errorf("%w: the key is disabled in the keyset", kek.ErrDenied)
	}
	return nil, fail(kek.ErrCorrupt, err)
}

func (l *local) check(ctx context.Context) (kek.Status, error) {
	k, err := l.fresh(ctx)
	if err != nil {
		return kek.Status{}, err
	}
	return kek.Status{Usable: true, PrimaryVersion: strconv.FormatUint(uint64(k.primary), 10)}, nil
}

// version tells the ID also of a key that isn't in the keyset: it is in none any
// more, or another process has added it. Where some keys' ciphertexts have no prefix
// only those of known keys are told from them.
func (l *local) version(ciphertext []byte) string {
	k := l.keys.Load()
	there, _ := k.named(ciphertext)
	prefixed := len(ciphertext) > 5 && ciphertext[0] <= 1 // 0 of CRUNCHY and LEGACY, 1 of TINK
	if !there && (k.raw || !prefixed) {
		return ""
	}
	return strconv.FormatUint(uint64(binary.BigEndian.Uint32(ciphertext[1:])), 10)
}

// fresh returns the keyset as the file has it now. Its errors match
// [kek.ErrUnavailable]. It returns when ctx ends: a file may be on a network, and
// encrypted by a KMS.
func (l *local) fresh(ctx context.Context) (*keys, error) {
	if l.file == nil {
		return l.keys.Load(), nil
	}
	k, err := await(ctx, l.refresh, func(*keys) {})
	if err != nil {
		return nil, fail(kek.ErrUnavailable, fmt.Errorf("the keyset file: %w", err))
	}
	return k, nil
}

func (l *local) refresh() (*keys, error) {
	if k := l.keys.Load(); l.file.unchanged(k.stamp) {
		return k, nil
	}
	l.reload.Lock()
	defer l.reload.Unlock()
	k := l.keys.Load()
	if l.file.unchanged(k.stamp) { // another call has read it meanwhile
		return k, nil
	}
	newer, err := l.file.read()
	if err != nil {
		return nil, err
	}
	if !related(k, newer) {
		// Not a rotation. What this process has wrapped, the next one couldn't
		// unwrap, and the reverse.
		return nil, fmt.Errorf("%w: it was replaced by a keyset that has none of the keys that it had", ErrKeyset)
	}
	l.keys.Store(newer)
	return newer, nil
}

// related reports whether two keysets have a key in common.
func related(a, b *keys) bool {
	for id := range maps.Keys(a.ids) {
		if b.ids[id] {
			return true
		}
	}
	return false
}
