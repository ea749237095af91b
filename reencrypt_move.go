package vault

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// reencryptJobFormat is the version of reencryptJob's JSON.
const reencryptJobFormat = 1

// reencryptJob is how far a named pass has come, as it stands in the store's system
// record "reencrypt/" ‖ the namespace's mark ‖ "/" ‖ job.
type reencryptJob struct {
	Format      int               `json:"format"`
	Match       KeyContext        `json:"match,omitempty"`
	All         bool              `json:"all,omitempty"`
	OldVersions bool              `json:"old_versions,omitempty"`
	Position    reencryptPosition `json:"position"`
	Report      ReencryptReport   `json:"report"`

	note jobNote
}

// reencryptPosition is where a pass goes on: at a key of a page of keys, at a page of
// the versions under it. The zero position is the beginning; a key that isn't there is
// the page's beginning.
type reencryptPosition struct {
	Keys     string `json:"keys,omitempty"` // cursor of the page of keys
	Key      KeyID  `json:"key,omitzero"`
	Versions string `json:"versions,omitempty"` // cursor of the page of versions
}

// openJob returns the job that the options name, where it was left.
func (p *reencryptPass) openJob(ctx context.Context) (*reencryptJob, error) {
	fresh := &reencryptJob{
		Format: reencryptJobFormat, Match: p.opts.Match, All: p.opts.All, OldVersions: p.opts.OldVersions,
		note: p.v.note("reencrypt", p.opts.Job),
	}
	job := new(reencryptJob)
	if found, err := fresh.note.read(ctx, job, reencryptJobFormat); err != nil || !found {
		return fresh, err
	}
	if job.All != fresh.All || job.OldVersions != fresh.OldVersions || !maps.Equal(job.Match, fresh.Match) {
		return nil, fmt.Errorf("%w: job %s is under way with another Match, All or OldVersions; finish it with those, or take another name", ErrInvalidOption, p.opts.Job)
	}
	job.note = fresh.note
	p.report = job.Report
	return job, nil
}

// saveJob notes that everything before the position is done.
func (p *reencryptPass) saveJob(ctx context.Context, at reencryptPosition) error {
	p.job.Position, p.job.Report = at, p.report
	return p.job.note.write(ctx, p.job)
}

// reencryptBatch is what lies between two notes, and where the pass goes on after it.
type reencryptBatch struct {
	items    []sealedVersion
	position reencryptPosition
}

// batches iterates over the versions under superseded keys, those of many keys
// together.
func (p *reencryptPass) batches(ctx context.Context) iter.Seq2[reencryptBatch, error] {
	return func(yield func(reencryptBatch, error) bool) {
		var batch reencryptBatch
		for page, err := range p.pages(ctx) {
			if err != nil {
				yield(batch, err)
				return
			}
			batch.items = append(batch.items, page.items...)
			batch.position = page.position
			if len(batch.items) >= passPage {
				if !yield(batch, nil) {
					return
				}
				batch.items = nil
			}
		}
		if len(batch.items) > 0 {
			yield(batch, nil)
		}
	}
}

// pages iterates over the pages of versions under one superseded key after the other.
func (p *reencryptPass) pages(ctx context.Context) iter.Seq2[reencryptBatch, error] {
	return func(yield func(reencryptBatch, error) bool) {
		from := p.job.Position
		for first := true; first || from.Keys != ""; first = false {
			page, err := p.v.keyPage(ctx, storage.KeyQuery{
				Contexts: p.v.contexts(p.opts.Match, p.opts.All), Purpose: keyctx.PurposeData, Cursor: from.Keys,
			})
			if err != nil {
				yield(reencryptBatch{}, err)
				return
			}
			if !p.keyPage(ctx, page, from, yield) {
				return
			}
			from = reencryptPosition{Keys: page.Next}
		}
	}
}

// keyPage yields the versions under the superseded keys of one page; false if that is
// to be the end.
func (p *reencryptPass) keyPage(ctx context.Context, page storage.KeyPage, from reencryptPosition, yield func(reencryptBatch, error) bool) bool {
	begin := max(0, slices.IndexFunc(page.Keys, func(rec storage.KeyRecord) bool { return rec.KeyID == from.Key }))
	for i := begin; i < len(page.Keys); i++ {
		at, after := reencryptPosition{Keys: from.Keys, Key: page.Keys[i].KeyID}, reencryptPosition{Keys: page.Next}
		if at.Key == from.Key {
			at.Versions = from.Versions
		}
		if i+1 < len(page.Keys) {
			after = reencryptPosition{Keys: from.Keys, Key: page.Keys[i+1].KeyID}
		}
		look, err := p.look(ctx, page.Keys, i, at.Versions == "")
		if err != nil {
			yield(reencryptBatch{}, err)
			return false
		}
		if look && !p.keyVersions(ctx, page.Keys[i], at, after, yield) {
			return false
		}
	}
	return true
}

// look reports whether there may be something to move under key i of a page, and
// counts the key if this is where it begins.
func (p *reencryptPass) look(ctx context.Context, recs []storage.KeyRecord, i int, begins bool) (bool, error) {
	rec, dead := recs[i], int64(0)
	if err := belongs(rec, p.v.contexts(p.opts.Match, p.opts.All)); err != nil {
		if p.count(sealedVersion{context: rec, rec: storage.ObjectRecord{KeyID: rec.KeyID, ContextHash: rec.ContextHash}}, 0, err) {
			err = errTooManyObjects
			return false, err
		}
		return false, nil
	}
	superseded, err := p.superseded(ctx, recs, i)
	if err != nil || !superseded {
		return false, err
	}
	state, err := p.family.state(ctx, rec.State, rec.ParentID)
	if err != nil {
		return false, err
	}
	if state == storage.StateShredded {
		if dead, err = p.v.cfg.Store.CountByKey(ctx, rec.KeyID); err != nil {
			return false, fmt.Errorf("counting the objects under key %s: %w", rec.KeyID.Short(), err)
		}
	}
	if begins {
		p.countKey(dead)
	}
	return state != storage.StateShredded, nil
}

// superseded reports whether the record i of a page has a newer version.
func (p *reencryptPass) superseded(ctx context.Context, recs []storage.KeyRecord, i int) (bool, error) {
	if i+1 < len(recs) {
		return !followedBy(recs[i], &recs[i+1]).newest(), nil
	}
	newest, err := p.v.cfg.Store.LatestKey(ctx, recs[i].ContextHash, recs[i].Purpose)
	if err != nil {
		return false, fmt.Errorf("reading the newest key of context %s: %w", recs[i].ContextHash.Short(), err)
	}
	return newest.KeyID != recs[i].KeyID, nil
}

// keyVersions yields the versions under one key, a page at a time, from one position
// to another.
func (p *reencryptPass) keyVersions(ctx context.Context, key storage.KeyRecord, at, after reencryptPosition, yield func(reencryptBatch, error) bool) bool {
	for first := true; first || at.Versions != ""; first = false {
		page, err := p.v.cfg.Store.ListByKey(ctx, storage.ByKeyQuery{KeyID: key.KeyID, Cursor: at.Versions, Limit: passPage})
		if err != nil {
			yield(reencryptBatch{}, fmt.Errorf("listing the objects under key %s: %w", key.KeyID.Short(), err))
			return false
		}
		batch := reencryptBatch{items: make([]sealedVersion, len(page.Objects)), position: after}
		for i, rec := range page.Objects {
			followed := i+1 < len(page.Objects) && page.Objects[i+1].ID == rec.ID && page.Objects[i+1].Number > rec.Number
			batch.items[i] = sealedVersion{key, rec, followed}
		}
		if at.Versions = page.Next; at.Versions != "" {
			batch.position = at
		}
		if len(batch.items) > 0 && !yield(batch, nil) {
			return false
		}
	}
	return true
}

// moved says what became of a version.
type moved uint8

const (
	movedNow   moved = iota + 1 // it is sealed under the active key
	movedOld                    // it isn't current, and was not to be moved
	movedRaced                  // someone else was faster
)

// move seals one version under the active key of its context. A result together with
// an error says that it was done, and that its event was not recorded.
func (p *reencryptPass) move(ctx context.Context, item sealedVersion) (moved, error) {
	if !p.opts.OldVersions && item.followed {
		return movedOld, nil
	}
	c := keyring.Context{Hash: item.context.ContextHash, Pairs: item.context.Context.WithoutNamespace()}
	o, id := p.v.begin(ctx, DataReencrypted, c), KeyID{}
	rec, did, err := p.read(ctx, item.rec)
	if did != 0 || p.opts.DryRun {
		return did, err
	}
	if err == nil {
		did, id, err = p.v.moveVersion(ctx, c, item.rec, rec)
	}
	o.object(item.rec.Name, item.rec.ID, item.rec.VersionID, id)
	switch {
	case did == movedRaced, err != nil && ctx.Err() != nil:
		return did, err
	case err != nil:
		err = fmt.Errorf("object %s, version %s: %w", item.rec.ID, item.rec.VersionID, err)
	}
	return did, o.end(err)
}

// read reads the version that was listed; or says what became of it if it isn't to be
// moved, or would be in a pass that wasn't dry. Where only current versions are, the
// object's current one is read, and whether it is the one that was listed is seen by
// that.
func (p *reencryptPass) read(ctx context.Context, listed storage.ObjectRecord) (storage.ObjectRecord, moved, error) {
	if p.opts.OldVersions && p.opts.DryRun {
		return storage.ObjectRecord{}, movedNow, nil
	}
	ref := storage.ObjectRef{ID: listed.ID, NoEnvelope: p.opts.DryRun}
	if p.opts.OldVersions {
		ref.Version = listed.VersionID
	}
	rec, err := p.v.cfg.Store.GetObject(ctx, ref)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return rec, movedRaced, nil
	case err != nil:
		return rec, 0, fmt.Errorf("reading it: %w", err)
	case !p.opts.OldVersions && rec.VersionID != listed.VersionID:
		return rec, movedOld, nil
	case p.opts.DryRun:
		return rec, movedNow, nil
	}
	return rec, 0, nil
}

// moveVersion opens a version that was read, seals, compares and replaces it. It
// returns the key that the version is sealed under then.
func (v *Vault) moveVersion(ctx context.Context, c keyring.Context, listed, rec storage.ObjectRecord) (moved, KeyID, error) {
	switch {
	case rec.KeyID != listed.KeyID:
		return movedRaced, rec.KeyID, nil
	case rec.ContextHash != c.Hash || rec.ID != listed.ID || rec.VersionID != listed.VersionID:
		return 0, listed.KeyID, fmt.Errorf("%w: the stored object is of context %s", ErrWrongContext, rec.ContextHash.Short())
	}
	aad := objectAAD(rec.VersionID, rec.ExpiresAt, rec.Name)
	sealed, id, err := v.reseal(ctx, c, envelope.KindObject, rec.Envelope, aad)
	if err != nil {
		return 0, listed.KeyID, err
	}
	if id == rec.KeyID {
		return 0, id, fmt.Errorf("%w: key %s is the active one after all", ErrVersionConflict, id.Short())
	}
	err = v.cfg.Store.ReplaceEnvelope(ctx, rec.ID, rec.VersionID, rec.KeyID, id, sealed)
	if errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrNotFound) {
		return movedRaced, listed.KeyID, nil
	}
	if err != nil {
		return 0, listed.KeyID, err
	}
	return movedNow, id, nil
}
