package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// shredNotes is what has not ended in this namespace. A note that can't be read, since
// a newer program wrote it or it was damaged, must not stand in the way of other
// customers: it concerns the keys whose contexts contain the match that its name is
// the hash of.
type shredNotes struct {
	notes   []*shredNote
	unread  []error
	matches map[string]bool // hashes of what unread ones match, as in their names
	all     bool            // one is named as none should be: it may match anything
	hashOf  func(KeyContext) ContextHash
}

// pendingShreds reads all notes.
func (v *Vault) pendingShreds(ctx context.Context) (*shredNotes, error) {
	all := &shredNotes{matches: map[string]bool{}, hashOf: v.hashOf}
	prefix := v.shredName("pending", "")
	for after := ""; ; {
		recs, err := v.cfg.Store.ListSystem(ctx, prefix, after, passPage)
		if err != nil {
			return nil, fmt.Errorf("listing pending shreddings: %w", err)
		}
		for _, rec := range recs {
			after = rec.Name
			if n, err := v.parseShred(rec); err == nil {
				all.notes = append(all.notes, n)
			} else {
				all.addUnread(strings.TrimPrefix(rec.Name, prefix), err)
			}
		}
		if len(recs) < passPage {
			return all, nil
		}
	}
}

func (s *shredNotes) addUnread(hash string, err error) {
	s.unread = append(s.unread, err)
	s.matches[hash] = true
	s.all = s.all || len(hash) != len(ContextHash{}.String())
}

// err is that of the notes that can't be read; nil if there is none.
func (s *shredNotes) err() error {
	if len(s.unread) == 0 {
		return nil
	}
	return fmt.Errorf("%d pending shreddings can't be read: %w", len(s.unread), errors.Join(s.unread[:min(len(s.unread), maxErrors)]...))
}

// unreadConcerns reports whether a note that can't be read is about the key's context.
func (s *shredNotes) unreadConcerns(rec *storage.KeyRecord) bool {
	if len(s.unread) == 0 || s.all {
		return s.all
	}
	pairs := rec.Context.WithoutNamespace()
	names := make([]string, 0, len(pairs))
	for name := range pairs {
		names = append(names, name)
	}
	if len(names) > keyctx.MaxPairs { // with reserved pairs, which no match has
		return true
	}
	for subset := 1; subset < 1<<len(names); subset++ {
		match := KeyContext{}
		for i, name := range names {
			if subset&(1<<i) != 0 {
				match[name] = pairs[name]
			}
		}
		if s.matches[s.hashOf(match).String()] {
			return true
		}
	}
	return false
}

// mayHaveDisabled reports whether a shredding, also one that is being cancelled, has
// disabled this disabled key, or may have.
func (s *shredNotes) mayHaveDisabled(rec *storage.KeyRecord) bool {
	for _, n := range s.notes {
		if rec.StateChangedAt.Equal(n.RequestedAt) && rec.Context.Contains(n.Match) {
			return true
		}
	}
	return s.unreadConcerns(rec)
}

// anyBut reports whether there is a note that wasn't there before.
func (s *shredNotes) anyBut(before *shredNotes) bool {
	known := map[ID]bool{}
	for _, n := range before.notes {
		known[n.ID] = true
	}
	for _, n := range s.notes {
		if !known[n.ID] {
			return true
		}
	}
	return len(s.unread) > len(before.unread)
}

// wants reports whether a shredding that is pending is to destroy the key.
func (s *shredNotes) wants(rec *storage.KeyRecord) bool {
	for _, n := range s.notes {
		if n.Phase != shredCancelling && rec.Context.Contains(n.Match) {
			return true
		}
	}
	return s.unreadConcerns(rec)
}
