package etcdstore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ListKeys implements [storage.KeyStore].
func (s *Store) ListKeys(ctx context.Context, q storage.KeyQuery) (page storage.KeyPage, err error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) != hashLen+5 {
		err = storage.ErrInvalidCursor
	}
	if err == nil {
		err = q.Validate()
	}
	if err != nil {
		return storage.KeyPage{}, fmt.Errorf("etcdstore: list keys: %w", err)
	}
	err = s.view(ctx, "list keys", func(r *snap) error {
		l := &keyList{snap: r, q: &q, pos: string(pos), pager: newPager[storage.KeyRecord](q.Limit)}
		if err := full(l.run()); err != nil {
			return err
		}
		page.Keys = l.rows
		if l.more {
			page.Next = q.NextCursor(driver, []byte(l.last))
		}
		return nil
	})
	if err != nil {
		return storage.KeyPage{}, err
	}
	return page, nil
}

// keyList is a page of keys being read.
type keyList struct {
	*snap
	*pager[storage.KeyRecord]
	q   *storage.KeyQuery
	pos string // of the last page's last row; "": first page
}

func (l *keyList) run() error {
	f := l.q.Contexts
	switch {
	case !l.q.ParentID.IsZero():
		return l.children()
	case f.Hash != (keyctx.Hash{}):
		return l.scan(l.within(string(f.Hash[:])), l.want, l.visit)
	case f.All && f.AnyNamespace:
		return l.scan(l.within(""), l.want, l.visit)
	}
	from := ""
	if l.pos != "" {
		from = l.pos[:hashLen]
	}
	return l.scanContexts(l.contexts(f, tagKeyContext, from), l.within, l.want, l.visit)
}

// within is where the rest of a context's keys is.
func (l *keyList) within(hash string) span {
	sp := prefixSpan(l.s.key(tagKey, hash))
	if l.pos != "" {
		sp = sp.from(after(l.s.key(tagKey, l.pos)))
	}
	return sp
}

// children lists the keys that have a parent, through their own index.
func (l *keyList) children() error {
	prefix := l.s.key(tagParent, string(l.q.ParentID[:]))
	sp := prefixSpan(prefix)
	if l.pos != "" {
		sp = sp.from(after(prefix + l.pos))
	}
	return l.scan(sp, l.want, func(entries []*entry) error {
		keys := make([]string, len(entries))
		for i, e := range entries {
			keys[i] = l.s.key(tagKey, string(e.Key[len(prefix):]))
		}
		found, err := l.get(keys...)
		if err != nil {
			return err
		}
		return l.visit(found)
	})
}

// visit adds the records, if q asks for them.
func (l *keyList) visit(entries []*entry) error {
	for _, e := range entries {
		if e == nil {
			return fmt.Errorf("%w: the index has a key where it isn't", storage.ErrCorrupt)
		}
		k, err := l.s.keyRow(e)
		if err == nil && l.q.Selects(&k.rec) {
			err = l.add(use(k.rec.ContextHash, k.rec.Purpose, k.rec.Version), k.rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
