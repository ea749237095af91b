package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/embedvault/vault/storage"
)

// The system records of shreddings, with ns the namespace's mark:
//
//	shred/ns/pending/CONTEXT-HASH-OF-MATCH   a shredNote, from beginning to end
//	shred/ns/keys/ID/00000000                a shredPage, and so on; the last is empty
//	shred/ns/receipt/ID                      the receipt, for ever
//
// SPEC: docs/SPEC.md, "Shredding".

// shredFormat is the version of the JSON of all three.
const shredFormat = 1

// The phases of a shredding.
const (
	shredWaiting    = "waiting"    // its keys are being disabled
	shredHeld       = "held"       // they are
	shredShredding  = "shredding"  // they are being destroyed: there is no way back
	shredCancelling = "cancelling" // they are being enabled again
)

// shredNote is a shredding that has not ended. Keys that it has disabled are known by
// the time of their last change of state, which is RequestedAt to the microsecond.
type shredNote struct {
	Format      int        `json:"format"`
	ID          ID         `json:"id"`
	Match       KeyContext `json:"match"`
	Phase       string     `json:"phase"`
	Actor       string     `json:"actor,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	RequestedAt time.Time  `json:"requested_at"`
	DueAt       time.Time  `json:"due_at"`

	name     string
	revision uint64
}

// shredName returns the name of a system record about shreddings.
func (v *Vault) shredName(kind, id string) string {
	return "shred/" + v.namespaceMark() + "/" + kind + "/" + id
}

func (v *Vault) readShred(ctx context.Context, name string) (*shredNote, error) {
	rec, err := v.cfg.Store.GetSystem(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading a pending shredding: %w", err)
	}
	return v.parseShred(rec)
}

// parseShred reads a note, and refuses one that isn't where it belongs: it must not
// become another customer's end.
func (v *Vault) parseShred(rec storage.SystemRecord) (*shredNote, error) {
	n := &shredNote{}
	if err := decodeNote(rec.Value, n, shredFormat); err != nil {
		return nil, fmt.Errorf("a pending shredding: %w", err)
	}
	n.name, n.revision = rec.Name, rec.Revision
	if n.Match.Validate() != nil || rec.Name != v.shredName("pending", v.hashOf(n.Match).String()) {
		return nil, fmt.Errorf("%w: a pending shredding is of other contexts than its name says", ErrStoreCorrupt)
	}
	switch n.Phase {
	case shredWaiting, shredHeld, shredShredding, shredCancelling:
		return n, nil
	}
	return nil, fmt.Errorf("%w: a pending shredding has an unknown phase", ErrStoreCorrupt)
}

// writeShred writes the note if it is still at its revision.
func (v *Vault) writeShred(ctx context.Context, n *shredNote) error {
	value, err := encodeNote(n)
	if err != nil {
		return err
	}
	revision, err := v.cfg.Store.PutSystem(ctx, storage.SystemRecord{Name: n.name, Value: value, Revision: n.revision})
	if err != nil {
		return fmt.Errorf("noting a shredding: %w", err)
	}
	n.revision = revision
	return nil
}

// encodeNote is JSON as short as it gets: a key context at its limits must fit.
func encodeNote(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// shreddingKey is the ctx's key of the shredding, by its ID, that keys are changed for.
type shreddingKey struct{}

// within returns ctx for what is done for the shredding. Its events have its ID, and the
// actor of ctx: whoever the note says asked for it is only the store's word.
func (n *shredNote) within(ctx context.Context) context.Context {
	return context.WithValue(ctx, shreddingKey{}, n.ID)
}

func shreddingOf(ctx context.Context) ID {
	id, _ := ctx.Value(shreddingKey{}).(ID)
	return id
}

// holds reports whether this shredding has disabled the key.
func (n *shredNote) holds(rec *storage.KeyRecord) bool {
	return rec.State == storage.StateDisabled && rec.StateChangedAt.Equal(n.RequestedAt) &&
		n.Phase != shredCancelling && rec.Context.Contains(n.Match)
}

func (n *shredNote) pendingReceipt(namespace string) ShredReceipt {
	return ShredReceipt{
		Format: shredFormat, ID: n.ID, Namespace: namespace, Match: n.Match.Clone(),
		Actor: n.Actor, Reason: n.Reason, RequestedAt: n.RequestedAt, DueAt: n.DueAt,
	}
}
