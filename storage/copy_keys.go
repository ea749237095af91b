package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// maxParents is how many keys, each wrapped by the next, a copy follows: more
// than any vault makes, so that a circle in a damaged store has an end.
const maxParents = 32

// maxKnown is how many keys a copy remembers to be in the destination. Objects
// come context by context, so that few are enough.
const maxKnown = 10_000

// allKeys calls f with each page of the keys of a store.
func allKeys(ctx context.Context, s Store, contexts ContextFilter, f func([]KeyRecord) error) error {
	for q := (KeyQuery{Contexts: contexts, Limit: copyPage}); ; {
		page, err := s.ListKeys(ctx, q)
		if err == nil {
			err = f(page.Keys)
		}
		if err != nil || page.Next == "" {
			return err
		}
		q.Cursor = page.Next
	}
}

func (c *copier) keys(ctx context.Context) error {
	return allKeys(ctx, c.src, c.o.Contexts, func(page []KeyRecord) error {
		err := c.each(ctx, len(page), func(ctx context.Context, i int) error {
			if err := c.key(ctx, page[i], 0); err != nil {
				return err
			}
			c.count(func(r *CopyReport) { r.Keys++ })
			return nil
		})
		c.progress()
		return err
	})
}

// key has the key in dst, after the one that wraps it.
func (c *copier) key(ctx context.Context, rec KeyRecord, depth int) error {
	if err := c.parent(ctx, rec, depth); err != nil {
		return fmt.Errorf("key %s: %w", rec.KeyID.Short(), err)
	}
	there, err := c.dst.GetKey(ctx, rec.KeyID)
	switch {
	case errors.Is(err, ErrNotFound) && c.o.VerifyOnly:
		c.count(func(r *CopyReport) { r.KeysMissing++ })
		return nil
	case errors.Is(err, ErrNotFound):
		err = c.insertKey(ctx, rec)
	case err == nil && !sameKey(rec, there):
		err = c.differentKey(ctx, rec, there)
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", rec.KeyID.Short(), err)
	}
	c.remember(rec.KeyID)
	return nil
}

func (c *copier) parent(ctx context.Context, rec KeyRecord, depth int) error {
	if rec.ParentID.IsZero() {
		return nil
	}
	if depth == maxParents {
		return fmt.Errorf("%w: more than %d keys wrap one another", ErrCorrupt, maxParents)
	}
	_, err := c.ensureKey(ctx, rec.ParentID, depth+1)
	return err
}

// ensureKey has the key with this ID in dst, and reports whether there is one.
func (c *copier) ensureKey(ctx context.Context, id keyctx.KeyID, depth int) (ok bool, err error) {
	c.mu.Lock()
	known := c.known[id]
	c.mu.Unlock()
	if known {
		return true, nil
	}
	rec, err := c.src.GetKey(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.key(ctx, rec, depth)
}

func (c *copier) remember(id keyctx.KeyID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[id] = true
}

// insertKey writes a key that isn't there, and reads it back.
func (c *copier) insertKey(ctx context.Context, rec KeyRecord) error {
	err := c.dst.InsertKey(ctx, rec)
	exists := errors.Is(err, ErrExists)
	if err != nil && !exists {
		return err
	}
	there, got := c.dst.GetKey(ctx, rec.KeyID)
	switch {
	case exists && errors.Is(got, ErrNotFound):
		return fmt.Errorf("%w: another key has its context, purpose and version %d: %w", ErrCopyDiffers, rec.Version, err)
	case got != nil:
		return fmt.Errorf("read back: %w", got)
	case !sameKey(rec, there):
		return fmt.Errorf("read back: %w", ErrCopyDiffers)
	case !exists: // else another worker, or another process, was faster
		c.count(func(r *CopyReport) { r.KeysCopied++ })
	}
	return nil
}

// differentKey deals with a key that is another one in dst.
func (c *copier) differentKey(ctx context.Context, rec, there KeyRecord) error {
	if c.o.VerifyOnly {
		c.count(func(r *CopyReport) { r.KeysDifferent++ })
		return nil
	}
	if !c.o.Update || !follows(rec, there) {
		return ErrCopyDiffers
	}
	rec.Revision = there.Revision
	if err := c.dst.UpdateKey(ctx, rec); err != nil {
		return err
	}
	there, err := c.dst.GetKey(ctx, rec.KeyID)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !sameKey(rec, there) {
		return fmt.Errorf("read back: %w", ErrCopyDiffers)
	}
	c.count(func(r *CopyReport) { r.KeysUpdated++ })
	return nil
}

// follows reports whether rec may be what became of there: the same key, and
// nothing about it is older.
func follows(rec, there KeyRecord) bool {
	return rec.ContextHash == there.ContextHash && rec.Purpose == there.Purpose && rec.Version == there.Version &&
		TruncateTime(rec.CreatedAt).Equal(there.CreatedAt) &&
		!TruncateTime(rec.StateChangedAt).Before(there.StateChangedAt) &&
		!TruncateTime(rec.RewrappedAt).Before(there.RewrappedAt) &&
		(there.State != StateShredded || rec.State == StateShredded)
}

// sameKey reports whether two records are the same, but for their revisions:
// a record has one encoding.
func sameKey(a, b KeyRecord) bool {
	a.Revision, b.Revision = 0, 0
	x, errX := AppendKeyRecord(nil, a)
	y, errY := AppendKeyRecord(nil, b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
