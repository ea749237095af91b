package vault

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/storage"
)

// AuditHead is how far an audit log had come at a checkpoint. One is kept in the store
// for each log, so that it shows if the end of a log is cut off. It is not
// authenticated: whoever can write to the database, and to the log, can set both back.
type AuditHead struct {
	Log  ID        // of the log
	Seq  uint64    // of the checkpoint's line
	Hash [32]byte  // SHA-256 of that line
	Time time.Time // of the checkpoint, UTC
}

// auditHeadFormat is the version of a head's JSON.
const auditHeadFormat = 1

// auditHeadNote is a head as it is kept, in the system record audit/ns/LOG, with ns the
// namespace's mark. SPEC: docs/SPEC.md, "Audit log".
type auditHeadNote struct {
	Format int       `json:"format"`
	Log    ID        `json:"log"`
	Seq    uint64    `json:"seq"`
	Hash   string    `json:"hash"`
	Time   time.Time `json:"time"`
}

func (v *Vault) auditPrefix() string { return "audit/" + v.namespaceMark() + "/" }

// parseAuditHead refuses a record that isn't where it belongs.
func (v *Vault) parseAuditHead(rec storage.SystemRecord) (AuditHead, error) {
	var n auditHeadNote
	if err := decodeNote(rec.Value, &n, auditHeadFormat); err != nil {
		return AuditHead{}, fmt.Errorf("the head of an audit log: %w", err)
	}
	hash, err := hex.DecodeString(n.Hash)
	if err != nil || len(hash) != len(AuditHead{}.Hash) || rec.Name != v.auditPrefix()+n.Log.String() {
		return AuditHead{}, fmt.Errorf("%w: the head of an audit log can't be read", ErrStoreCorrupt)
	}
	return AuditHead{Log: n.Log, Seq: n.Seq, Hash: [32]byte(hash), Time: n.Time}, nil
}

// AuditHead returns the head that is kept of a log. It needs the Store alone, and works
// also after Close. Errors: ErrNotFound, ErrNoStore, ErrStoreCorrupt; the store's.
func (v *Vault) AuditHead(ctx context.Context, log ID) (AuditHead, error) {
	head, _, err := v.auditHead(ctx, log)
	if err != nil {
		return AuditHead{}, fmt.Errorf("vault: audit head: %w", err)
	}
	return head, nil
}

func (v *Vault) auditHead(ctx context.Context, log ID) (AuditHead, uint64, error) {
	if v.cfg.Store == nil {
		return AuditHead{}, 0, ErrNoStore
	}
	rec, err := v.cfg.Store.GetSystem(ctx, v.auditPrefix()+log.String())
	if err != nil {
		return AuditHead{}, 0, err
	}
	head, err := v.parseAuditHead(rec)
	return head, rec.Revision, err
}

// AuditHeads returns the heads of all logs in this vault's namespace, in the order of
// the logs' IDs, which is that of their beginnings: a log that is missing altogether
// shows here. Errors as of [Vault.AuditHead].
func (v *Vault) AuditHeads(ctx context.Context) ([]AuditHead, error) {
	if v.cfg.Store == nil {
		return nil, fmt.Errorf("vault: audit heads: %w", ErrNoStore)
	}
	var heads []AuditHead
	for after := ""; ; {
		recs, err := v.cfg.Store.ListSystem(ctx, v.auditPrefix(), after, passPage)
		if err != nil {
			return nil, fmt.Errorf("vault: audit heads: %w", err)
		}
		for _, rec := range recs {
			if !strings.HasPrefix(rec.Name, v.auditPrefix()) {
				return nil, fmt.Errorf("vault: audit heads: %w: the store gave another record", ErrStoreCorrupt)
			}
			head, err := v.parseAuditHead(rec)
			if err != nil {
				return nil, fmt.Errorf("vault: audit heads: %w", err)
			}
			heads = append(heads, head)
			after = rec.Name
		}
		if len(recs) < passPage {
			return heads, nil
		}
	}
}

// KeepAuditHead keeps the head of a log. It never goes back: where the store has one
// with a higher number, or with the same number and another hash, it is
// ErrVersionConflict. It needs the Store alone, makes no event, and works also after
// Close, so that a log may be closed after the vault whose events it takes.
//
// Errors: ErrNoStore, ErrVersionConflict, ErrStoreCorrupt; the store's.
func (v *Vault) KeepAuditHead(ctx context.Context, head AuditHead) error {
	if v.cfg.Store == nil {
		return fmt.Errorf("vault: keep audit head: %w", ErrNoStore)
	}
	if head.Log.IsZero() || head.Seq == 0 {
		return fmt.Errorf("vault: keep audit head: %w: it names no log or no record", ErrInvalidOption)
	}
	value, err := json.Marshal(auditHeadNote{
		Format: auditHeadFormat, Log: head.Log, Seq: head.Seq, Hash: hex.EncodeToString(head.Hash[:]), Time: head.Time.UTC(),
	})
	if err != nil {
		return fmt.Errorf("vault: keep audit head: %w", err)
	}
	for range 4 { // a log has one writer; more rounds only if somebody plays with the record
		now, revision, err := v.auditHead(ctx, head.Log)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			revision = 0
		case err != nil:
			return fmt.Errorf("vault: keep audit head: %w", err)
		case now.Seq == head.Seq && now.Hash == head.Hash:
			return nil
		case now.Seq >= head.Seq:
			return fmt.Errorf("vault: keep audit head: %w: the store has number %d of this log, and this is number %d", ErrVersionConflict, now.Seq, head.Seq)
		}
		_, err = v.cfg.Store.PutSystem(ctx, storage.SystemRecord{Name: v.auditPrefix() + head.Log.String(), Value: value, Revision: revision})
		if err == nil {
			return nil
		}
		if !guardFailed(err) {
			return fmt.Errorf("vault: keep audit head: %w", err)
		}
	}
	return fmt.Errorf("vault: keep audit head: %w: another process writes it", ErrVersionConflict)
}
