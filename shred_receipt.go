package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"time"

	"github.com/embedvault/vault/storage"
)

// ErrReceipt is matched when a shred receipt doesn't hold: it was changed, or what it
// says was destroyed is there.
var ErrReceipt = errors.New("shred receipt doesn't hold")

// ShredReceipt says what [Vault.Shred] did. Its JSON form is stable, and is what the
// store keeps. It names the contexts that were shredded, and is not secret otherwise.
// It is no signature: who can write to the store can also make a receipt.
type ShredReceipt struct {
	Format    int        `json:"format"` // 1
	ID        ID         `json:"id"`
	Namespace string     `json:"namespace,omitempty"`
	Match     KeyContext `json:"match"`            // every context that contains it
	Actor     string     `json:"actor,omitempty"`  // of WithActor
	Reason    string     `json:"reason,omitempty"` // of ShredOptions, or WithReason

	RequestedAt time.Time `json:"requested_at"`
	DueAt       time.Time `json:"due_at"`               // when the waiting period ends
	ShreddedAt  time.Time `json:"shredded_at,omitzero"` // zero: it is pending

	// Keys is how many keys were destroyed. Those that had been shredded before are
	// not among them.
	Keys int64 `json:"keys"`

	// KeyList lists them if they are at most 100; [Vault.ShreddedKeys] does in any
	// case.
	KeyList []ShreddedKey `json:"key_list,omitempty"`

	// Digest is the SHA-256, in hexadecimal, of all of the above but DueAt, with every
	// key: docs/SPEC.md, "Shredding".
	Digest string `json:"digest,omitempty"`
}

// ShreddedKey is one key in a receipt.
type ShreddedKey struct {
	KeyID       KeyID       `json:"key_id"`
	ContextHash ContextHash `json:"context_hash"`
	Purpose     Purpose     `json:"purpose"`
	Version     uint32      `json:"version"`
}

// Pending reports whether the receipt is of a shredding that has not been done.
func (r ShredReceipt) Pending() bool { return r.ShreddedAt.IsZero() }

// receiptKeys is how many keys a receipt lists itself.
const receiptKeys = 100

// ShreddedKeys iterates over all the keys of a receipt of this vault's. What it gives
// is not compared with the digest; [Vault.VerifyShred] does that.
//
// Errors: ErrNotFound if the store doesn't have the list; ErrNoStore; ErrClosed; the
// store's; ctx's.
func (v *Vault) ShreddedKeys(ctx context.Context, r ShredReceipt) iter.Seq2[ShreddedKey, error] {
	return func(yield func(ShreddedKey, error) bool) {
		// Of all: that r's ID is of r's Match is only its word.
		if err := v.permit(ctx, AccessRequest{Operation: OpShredReceipts, All: true}); err != nil {
			yield(ShreddedKey{}, fmt.Errorf("vault: shredded keys: %w", err))
			return
		}
		for key, err := range v.shreddedKeys(ctx, r) {
			if err != nil {
				err = fmt.Errorf("vault: shredded keys: %w", err)
			}
			if !yield(key, err) {
				return
			}
		}
	}
}

func (v *Vault) shreddedKeys(ctx context.Context, r ShredReceipt) iter.Seq2[ShreddedKey, error] {
	if int64(len(r.KeyList)) == r.Keys {
		return func(yield func(ShreddedKey, error) bool) {
			for _, key := range r.KeyList {
				if !yield(key, nil) {
					return
				}
			}
		}
	}
	return v.storedShreddedKeys(ctx, r.ID)
}

// storedShreddedKeys iterates over the pages of a shredding.
func (v *Vault) storedShreddedKeys(ctx context.Context, id ID) iter.Seq2[ShreddedKey, error] {
	return func(yield func(ShreddedKey, error) bool) {
		for page := 0; ; page++ {
			err := v.ready(ctx)
			var keys []ShreddedKey
			if err == nil {
				keys, err = v.readShredPage(ctx, v.shredPageName(id, page))
			}
			if err != nil {
				yield(ShreddedKey{}, err)
				return
			}
			if len(keys) == 0 {
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

func (v *Vault) shredPageName(id ID, page int) string {
	return v.shredName("keys", fmt.Sprintf("%s/%08d", id, page))
}

func (v *Vault) readShredPage(ctx context.Context, name string) ([]ShreddedKey, error) {
	rec, err := v.cfg.Store.GetSystem(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading which keys are shredded: %w", err)
	}
	var page shredPage
	if err := decodeNote(rec.Value, &page, shredFormat); err != nil {
		return nil, fmt.Errorf("which keys are shredded: %w", err)
	}
	return page.Keys, nil
}

// writeReceipt writes the receipt of a shredding that is done, or returns the one that
// another process has written.
func (v *Vault) writeReceipt(ctx context.Context, n *shredNote) (ShredReceipt, error) {
	r := n.pendingReceipt(v.cfg.Namespace)
	r.ShreddedAt = storage.TruncateTime(time.Now())
	d := newShredDigest(r, v.hashOf(r.Match))
	for key, err := range v.storedShreddedKeys(ctx, r.ID) {
		if errors.Is(err, storage.ErrNotFound) {
			err = fmt.Errorf("%w: the list of keys of shredding %s has a hole", ErrStoreCorrupt, r.ID)
		}
		if err != nil {
			return ShredReceipt{}, err
		}
		d.add(key)
		if len(r.KeyList) <= receiptKeys {
			r.KeyList = append(r.KeyList, key)
		}
	}
	r.Keys, r.Digest = int64(d.keys), d.sum()
	if len(r.KeyList) > receiptKeys {
		r.KeyList = nil
	}
	value, err := encodeNote(r)
	if err != nil {
		return ShredReceipt{}, err
	}
	name := v.shredName("receipt", r.ID.String())
	_, err = v.cfg.Store.PutSystem(ctx, storage.SystemRecord{Name: name, Value: value})
	if errors.Is(err, storage.ErrExists) {
		return v.readReceipt(ctx, name)
	}
	if err != nil {
		return ShredReceipt{}, fmt.Errorf("writing the receipt: %w", err)
	}
	return r, nil
}

func (v *Vault) readReceipt(ctx context.Context, name string) (ShredReceipt, error) {
	rec, err := v.cfg.Store.GetSystem(ctx, name)
	if err != nil {
		return ShredReceipt{}, fmt.Errorf("reading a shred receipt: %w", err)
	}
	var r ShredReceipt
	if err := decodeNote(rec.Value, &r, shredFormat); err != nil {
		return ShredReceipt{}, fmt.Errorf("a shred receipt: %w", err)
	}
	return r, nil
}

// ShredReceipts iterates over the receipts that the store has, the oldest first.
//
// Errors: ErrNoStore; ErrClosed; the store's; ctx's.
func (v *Vault) ShredReceipts(ctx context.Context) iter.Seq2[ShredReceipt, error] {
	return func(yield func(ShredReceipt, error) bool) {
		if err := v.permit(ctx, AccessRequest{Operation: OpShredReceipts, All: true}); err != nil {
			yield(ShredReceipt{}, fmt.Errorf("vault: shred receipts: %w", err))
			return
		}
		prefix, after := v.shredName("receipt", ""), ""
		for {
			err := v.ready(ctx)
			var recs []storage.SystemRecord
			if err == nil {
				recs, err = v.cfg.Store.ListSystem(ctx, prefix, after, passPage)
			}
			for i := 0; err == nil && i < len(recs); i++ {
				var r ShredReceipt
				if err = decodeNote(recs[i].Value, &r, shredFormat); err == nil && !yield(r, nil) {
					return
				}
				after = recs[i].Name
			}
			if err != nil {
				yield(ShredReceipt{}, fmt.Errorf("vault: shred receipts: %w", err))
				return
			}
			if len(recs) < passPage {
				return
			}
		}
	}
}

// VerifyShred checks a receipt: its digest is right, and each of its keys is in the
// store as a tombstone of a context that contains Match, without any wrapped copy.
// The receipt may come from a file. It says nothing of backups.
//
// Errors: [ErrReceipt], also for a receipt that is pending or of another namespace;
// ErrNotFound if the store doesn't have its list of keys; ErrNoStore; ErrClosed; the
// store's; ctx's.
func (v *Vault) VerifyShred(ctx context.Context, r ShredReceipt) error {
	if err := v.verifyShred(ctx, r); err != nil {
		return fmt.Errorf("vault: verify shred: %w", err)
	}
	return nil
}

func (v *Vault) verifyShred(ctx context.Context, r ShredReceipt) (err error) {
	defer v.trace(&ctx, "verify_shred", nil).end(&err)
	if err := v.ready(ctx); err != nil {
		return err
	}
	if err := v.permit(ctx, AccessRequest{Operation: OpVerifyShred, Match: r.Match}); err != nil {
		return err
	}
	switch {
	case r.Format != shredFormat:
		return fmt.Errorf("%w: it has format %d, want %d", ErrReceipt, r.Format, shredFormat)
	case r.Pending():
		return fmt.Errorf("%w: it is pending", ErrReceipt)
	case r.Namespace != v.cfg.Namespace:
		return fmt.Errorf("%w: it is of another namespace", ErrReceipt)
	case r.Match.Validate() != nil:
		return fmt.Errorf("%w: its Match is not valid", ErrReceipt)
	}
	d := newShredDigest(r, v.hashOf(r.Match))
	for key, err := range v.shreddedKeys(ctx, r) {
		if err != nil {
			return err
		}
		if d.add(key); d.keys > uint64(r.Keys) {
			break
		}
	}
	if d.keys != uint64(r.Keys) || d.sum() != r.Digest {
		return fmt.Errorf("%w: its digest is wrong", ErrReceipt)
	}
	for batch, err := range batches(v.shreddedKeys(ctx, r), passPage) {
		if err != nil {
			return err
		}
		if err := each(ctx, batch, defaultConcurrency, new(pacer), func(ctx context.Context, key ShreddedKey) error {
			return v.verifyTombstone(ctx, key, r.Match)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (v *Vault) verifyTombstone(ctx context.Context, key ShreddedKey, match KeyContext) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	rec, err := v.cfg.Store.GetKey(ctx, key.KeyID)
	if err == nil && belongs(rec, v.contexts(match, false)) != nil {
		err = storage.ErrNotFound // whoever may ask about Match learns nothing of others' keys
	}
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: key %s has no tombstone of a context that contains Match", ErrReceipt, key.KeyID.Short())
	}
	if err != nil {
		return fmt.Errorf("reading key %s: %w", key.KeyID.Short(), err)
	}
	switch again := rec.Clone(); {
	case tombstone(&again):
		return fmt.Errorf("%w: key %s is %v, or has wrapped copies", ErrReceipt, key.KeyID.Short(), rec.State)
	case rec.ContextHash != key.ContextHash, rec.Purpose != key.Purpose, rec.Version != key.Version:
		return fmt.Errorf("%w: key %s is another than it says", ErrReceipt, key.KeyID.Short())
	}
	return nil
}

// batches groups what seq yields, up to n at a time, and ends with its first error.
func batches[T any](seq iter.Seq2[T, error], n int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		batch := make([]T, 0, n)
		for item, err := range seq {
			if err != nil {
				yield(nil, err)
				return
			}
			if batch = append(batch, item); len(batch) == n {
				if !yield(slices.Clone(batch), nil) {
					return
				}
				batch = batch[:0]
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

// shredDigest is the digest of a receipt under way:
//
//	SHA-256("vault/v1/shred" ‖ ID (16) ‖ context hash of match (32) ‖ u16 len ‖ namespace ‖
//	        u16 len ‖ actor ‖ u16 len ‖ reason ‖ i64 requested at ‖ i64 shredded at ‖
//	        keys × (context hash (32) ‖ u8 purpose ‖ u32 version ‖ key ID (32)) ‖ u64 keys)
//
// SPEC: docs/SPEC.md, "Shredding".
type shredDigest struct {
	h    hash.Hash
	keys uint64
}

func newShredDigest(r ShredReceipt, match ContextHash) *shredDigest {
	b := append([]byte("vault/v1/shred"), r.ID[:]...)
	b = append(b, match[:]...)
	for _, s := range []string{r.Namespace, r.Actor, r.Reason} {
		if len(s) > 1<<16-1 {
			s = s[:1<<16-1] // none of ours is that long: the digest will be another
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.RequestedAt.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.ShreddedAt.UnixMicro()))
	d := &shredDigest{h: sha256.New()}
	d.h.Write(b)
	return d
}

func (d *shredDigest) add(k ShreddedKey) {
	b := append(make([]byte, 0, 69), k.ContextHash[:]...)
	b = append(b, byte(k.Purpose))
	b = binary.BigEndian.AppendUint32(b, k.Version)
	d.h.Write(append(b, k.KeyID[:]...))
	d.keys++
}

func (d *shredDigest) sum() string {
	d.h.Write(binary.BigEndian.AppendUint64(nil, d.keys))
	return hex.EncodeToString(d.h.Sum(nil))
}
