package storage

import (
	"context"
	"errors"
	"fmt"
)

// allObjects calls f with each page of the objects of a store, expired or not.
func allObjects(ctx context.Context, s Store, contexts ContextFilter, f func([]ObjectRecord) error) error {
	for q := (ObjectQuery{Contexts: contexts, IncludeExpired: true, Limit: copyPage}); ; {
		page, err := s.ListObjects(ctx, q)
		if err == nil {
			err = f(page.Objects)
		}
		if err != nil || page.Next == "" {
			return err
		}
		q.Cursor = page.Next
	}
}

func (c *copier) objects(ctx context.Context) error {
	return allObjects(ctx, c.src, c.o.Contexts, func(page []ObjectRecord) error {
		err := c.each(ctx, len(page), func(ctx context.Context, i int) error {
			if err := c.object(ctx, page[i]); err != nil {
				return fmt.Errorf("object %s: %w", page[i].ID, err)
			}
			c.count(func(r *CopyReport) { r.Objects++ })
			return nil
		})
		c.progress()
		return err
	})
}

// object has all versions of the object in dst. It goes through the versions
// of both stores side by side, the oldest first.
func (c *copier) object(ctx context.Context, cur ObjectRecord) error {
	from, to := newVersions(c.src, cur), newVersions(c.dst, cur)
	s, err := from.next(ctx)
	if err != nil || s == nil { // deleted meanwhile
		return err
	}
	d, err := to.next(ctx)
	for err == nil && s != nil {
		switch {
		case d != nil && d.Number < s.Number:
			if err = c.extraVersion(d); err == nil {
				d, err = to.next(ctx)
			}
			continue
		case d == nil || s.Number < d.Number:
			err = c.importVersion(ctx, s)
		default:
			if err = c.compareVersion(ctx, s, d); err == nil {
				d, err = to.next(ctx)
			}
		}
		if err == nil {
			c.count(func(r *CopyReport) { r.Versions++ })
			s, err = from.next(ctx)
		}
	}
	if err == nil && d != nil {
		return c.laterVersion(d)
	}
	return err
}

// extraVersion deals with a version that dst has and src hasn't, older than
// others that src has: its Keep has removed it there.
func (c *copier) extraVersion(d *ObjectRecord) error {
	if !c.o.Update && !c.o.VerifyOnly {
		return fmt.Errorf("version %d: %w: the source doesn't have it", d.Number, ErrCopyDiffers)
	}
	c.count(func(r *CopyReport) { r.ExtraVersions++ })
	return nil
}

// laterVersion deals with a version in dst that is later than all in src: dst
// is in use, and no copy any more.
func (c *copier) laterVersion(d *ObjectRecord) error {
	if c.o.VerifyOnly {
		c.count(func(r *CopyReport) { r.VersionsDifferent++ })
		return nil
	}
	return fmt.Errorf("version %d: %w: it is later than all of the source", d.Number, ErrCopyDiffers)
}

// importVersion writes a version that isn't there, after its key, and reads it
// back.
func (c *copier) importVersion(ctx context.Context, s *ObjectRecord) error {
	if c.o.VerifyOnly {
		c.count(func(r *CopyReport) { r.VersionsMissing++ })
		return nil
	}
	if err := c.keyOf(ctx, s); err != nil {
		return err
	}
	err := c.dst.ImportVersion(ctx, *s)
	if errors.Is(err, ErrExists) || errors.Is(err, ErrVersionConflict) {
		err = fmt.Errorf("%w: %w", ErrCopyDiffers, err)
	}
	if err == nil {
		err = c.readBack(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("version %d: %w", s.Number, err)
	}
	c.count(func(r *CopyReport) {
		r.VersionsCopied++
		r.BytesCopied += int64(len(s.Envelope))
	})
	return nil
}

// keyOf has the key of a version in dst. The keys were copied before, so it is
// there, or it was made since.
func (c *copier) keyOf(ctx context.Context, s *ObjectRecord) error {
	ok, err := c.ensureKey(ctx, s.KeyID, 0)
	if err == nil && !ok {
		c.count(func(r *CopyReport) { r.VersionsWithoutKey++ })
	}
	return err
}

// readBack compares what dst has with what was written.
func (c *copier) readBack(ctx context.Context, s *ObjectRecord) error {
	got, err := c.dst.GetObject(ctx, ObjectRef{ID: s.ID, Version: s.VersionID})
	if err == nil && !got.Same(*s) {
		err = ErrCopyDiffers
	}
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return nil
}

// compareVersion compares two versions with the same number.
func (c *copier) compareVersion(ctx context.Context, s, d *ObjectRecord) error {
	if s.Same(*d) {
		return nil
	}
	if c.o.VerifyOnly {
		c.count(func(r *CopyReport) { r.VersionsDifferent++ })
		return nil
	}
	sealed := *d
	sealed.KeyID, sealed.Envelope = s.KeyID, s.Envelope
	ok := c.o.Update && sealed.Same(*s)
	if ok {
		if err := c.keyOf(ctx, s); err != nil {
			return err
		}
		newer, err := c.sealedLater(ctx, s, d)
		if err != nil {
			return err
		}
		ok = newer
	}
	if !ok {
		return fmt.Errorf("version %d: %w", s.Number, ErrCopyDiffers)
	}
	err := c.dst.ReplaceEnvelope(ctx, d.ID, d.VersionID, d.KeyID, s.KeyID, s.Envelope)
	if err == nil {
		err = c.readBack(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("version %d: %w", s.Number, err)
	}
	c.count(func(r *CopyReport) {
		r.VersionsUpdated++
		r.BytesCopied += int64(len(s.Envelope))
	})
	return nil
}

// sealedLater reports whether s is sealed under a version of the context's key
// that is not lower than that of d: data moves to later keys only.
func (c *copier) sealedLater(ctx context.Context, s, d *ObjectRecord) (bool, error) {
	if s.KeyID == d.KeyID {
		return true, nil
	}
	var keys [2]KeyRecord
	for i, r := range []*ObjectRecord{s, d} {
		k, err := c.dst.GetKey(ctx, r.KeyID)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		keys[i] = k
	}
	return keys[0].Version >= keys[1].Version, nil
}

// versions reads an object's versions, the oldest first.
type versions struct {
	s    Store
	q    VersionQuery
	page []ObjectRecord
	end  bool
}

// aboutBytes is how many bytes of envelopes a page of versions has, about.
const aboutBytes = 4 << 20

func newVersions(s Store, cur ObjectRecord) *versions {
	v := &versions{s: s, q: VersionQuery{Object: cur.ID, Ascending: true, WithEnvelope: true, IncludeExpired: true}}
	v.expect(cur.Size)
	return v
}

// expect sets how many versions the next page has, if each has so many bytes.
func (v *versions) expect(size int64) {
	v.q.Limit = int(min(max(aboutBytes/max(size, 1), 1), 100))
}

// next returns the next version, nil at the end.
func (v *versions) next(ctx context.Context) (*ObjectRecord, error) {
	for len(v.page) == 0 {
		if v.end {
			return nil, nil
		}
		page, err := v.s.ListVersions(ctx, v.q)
		if err != nil {
			return nil, err
		}
		v.page, v.q.Cursor, v.end = page.Objects, page.Next, page.Next == ""
		if n := len(v.page); n > 0 {
			v.expect(int64(len(v.page[n-1].Envelope)))
		}
	}
	rec := &v.page[0]
	v.page = v.page[1:]
	return rec, nil
}
