package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// AuditKey MACs the checkpoints of an audit log: see package audit. It is derived from
// a key of the vault's that serves nothing else. Whoever holds it can check a log, and
// can also forge one: an HMAC has one key for both. It is safe for concurrent use.
type AuditKey struct {
	id KeyID

	// secret is an atomic.Pointer because package fmt can't follow one.
	secret atomic.Pointer[[sha256.Size]byte]
}

// NewAuditKey returns the key with this ID and these bytes, which are copied: those of
// [AuditKey.ExportVerificationKey], or of a test.
func NewAuditKey(id KeyID, secret [32]byte) *AuditKey {
	k := &AuditKey{id: id}
	k.secret.Store(&secret)
	return k
}

// ID returns the ID of the vault's key that this one is derived from.
func (k *AuditKey) ID() KeyID { return k.id }

// MAC returns HMAC-SHA256 of msg.
func (k *AuditKey) MAC(msg []byte) [32]byte {
	m := hmac.New(sha256.New, k.secret.Load()[:])
	m.Write(msg)
	return [32]byte(m.Sum(nil))
}

// Format prints the key's ID and nothing secret, whatever the verb.
func (k *AuditKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "vault.AuditKey(%s)", k.id.Short()) }

// auditKeyLabel begins a line of an exported key.
const auditKeyLabel = "vault-audit-key-1"

// ExportVerificationKey returns the key as a line of text, for the auditor, who checks
// logs with it far from the vault: "vault-audit-key-1:", the key's ID and its bytes in
// hexadecimal. It is a secret: whoever has it can forge checkpoints. It opens nothing
// that the vault has encrypted.
func (k *AuditKey) ExportVerificationKey() []byte {
	return fmt.Appendf(nil, "%s:%s:%s\n", auditKeyLabel, k.id, hex.EncodeToString(k.secret.Load()[:]))
}

// ParseAuditKeys reads lines of [AuditKey.ExportVerificationKey]: one key, or all
// versions. Empty lines are ignored. Errors don't repeat what was read.
func ParseAuditKeys(text []byte) ([]*AuditKey, error) {
	var keys []*AuditKey
	for n, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			continue
		}
		parts := bytes.Split(line, []byte(":"))
		var id KeyID
		var secret [sha256.Size]byte
		if len(parts) != 3 || string(parts[0]) != auditKeyLabel || id.UnmarshalText(parts[1]) != nil || len(parts[2]) != hex.EncodedLen(len(secret)) {
			return nil, fmt.Errorf("vault: audit keys: line %d is not an exported verification key", n+1)
		}
		if _, err := hex.Decode(secret[:], parts[2]); err != nil {
			return nil, fmt.Errorf("vault: audit keys: line %d is not an exported verification key", n+1)
		}
		keys = append(keys, NewAuditKey(id, secret))
	}
	if len(keys) == 0 {
		return nil, errors.New("vault: audit keys: there is none in it")
	}
	return keys, nil
}

// auditContext is whose the key of the audit log is: the vault's own.
func (v *Vault) auditContext() (keyring.Context, error) {
	own := KeyContext{keyctx.ReservedSystem: "audit"}
	hash, err := own.WithNamespace(v.cfg.Namespace).Hash()
	return keyring.Context{Hash: hash, Pairs: own}, err
}

// AuditKey returns the key under which checkpoints of the audit log are MACed now. It
// is made if there is none, and kept like every key of the vault, wrapped by the
// default KEK. It isn't rotated by age. What is returned stays usable after Close, and
// a revocation of the KEK doesn't reach it.
//
// It is an event, audit.key.
//
// Errors: ErrNoStore without a store; ErrClosed; those of the key (ErrKeyDisabled,
// ErrKEKDenied, ErrKEKUnavailable, ErrKEKCorrupt, ErrPolicy); the context's; the
// store's.
func (v *Vault) AuditKey(ctx context.Context) (_ *AuditKey, err error) {
	defer v.trace(&ctx, "audit_key", nil).end(&err)
	keys, err := v.takeAuditKeys(ctx, v.activeAuditKey)
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// takeAuditKeys decides, fetches, and makes the event: whoever takes the keys can forge
// the log, and so that stands in it.
func (v *Vault) takeAuditKeys(ctx context.Context, fetch func(context.Context, keyring.Context) ([]*AuditKey, error)) ([]*AuditKey, error) {
	o := v.begin(ctx, AuditKeyTaken, keyring.Context{})
	c, err := v.auditContext()
	if err == nil {
		err = v.ready(ctx)
	}
	if err == nil && v.cfg.Authorizer != nil {
		err = v.decide(ctx, AccessRequest{Operation: OpAuditKey, All: true})
	}
	var keys []*AuditKey
	if err == nil {
		keys, err = fetch(ctx, c)
	}
	if err != nil {
		err = fmt.Errorf("vault: audit key: %w", err)
	} else {
		o.key(keys[0].ID())
	}
	if err := o.end(err); err != nil {
		return nil, err
	}
	return keys, nil
}

func (v *Vault) activeAuditKey(ctx context.Context, c keyring.Context) ([]*AuditKey, error) {
	k, err := v.ring.Active(ctx, c, keyctx.PurposeAuthentication)
	if err != nil {
		return nil, err
	}
	key, err := auditKey(k)
	return []*AuditKey{key}, err
}

// auditKey derives the key, and lets go of the one that it is derived from.
func auditKey(k *keyring.Key) (*AuditKey, error) {
	defer k.Release()
	secret, err := k.AuditKey()
	if err != nil {
		return nil, err
	}
	defer clear(secret[:])
	return NewAuditKey(k.ID(), secret), nil
}

// AuditKeys returns every version of the audit log's key that can be used, the newest
// first: what an auditor needs, since old checkpoints name old versions. It makes none:
// ErrKeyNotFound if there is none. Errors as of [Vault.AuditKey].
func (v *Vault) AuditKeys(ctx context.Context) (_ []*AuditKey, err error) {
	defer v.trace(&ctx, "audit_keys", nil).end(&err)
	return v.takeAuditKeys(ctx, v.allAuditKeys)
}

func (v *Vault) allAuditKeys(ctx context.Context, c keyring.Context) ([]*AuditKey, error) {
	var keys []*AuditKey
	q := storage.KeyQuery{Contexts: storage.ContextFilter{Hash: c.Hash}, Purpose: keyctx.PurposeAuthentication}
	for {
		page, err := v.cfg.Store.ListKeys(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, rec := range page.Keys {
			k, err := v.ring.ByID(ctx, c, keyctx.PurposeAuthentication, rec.KeyID)
			if errors.Is(err, ErrKeyShredded) {
				continue
			}
			if err != nil {
				return nil, err
			}
			key, err := auditKey(k)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no audit log was ever started with this vault", ErrKeyNotFound)
	}
	slices.Reverse(keys)
	return keys, nil
}
