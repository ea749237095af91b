package manytest

import (
	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ring is the keys that are stored.
type ring struct {
	byID   map[vault.KeyID]storage.KeyRecord
	newest map[keyctx.Hash]storage.KeyRecord
}

// checkStored holds what is stored against the history.
func (h *history) checkStored(st *stored, p *problems) {
	r := h.checkKeys(st, p)
	h.checkObjects(st, r, p)
	h.checkAcked(st, p)
	h.checkMessages(st, r, p)
}

// checkKeys checks that versions have no gaps and no duplicates, and that one is
// active.
func (h *history) checkKeys(st *stored, p *problems) ring {
	r := ring{map[vault.KeyID]storage.KeyRecord{}, map[keyctx.Hash]storage.KeyRecord{}}
	active := map[keyctx.Hash]int{}
	for _, k := range st.keys { // by context and version
		if _, twice := r.byID[k.KeyID]; twice {
			p.add("keys", "key %s is stored twice", k.KeyID.Short())
		}
		r.byID[k.KeyID] = k
		last := r.newest[k.ContextHash]
		if k.Purpose != keyctx.PurposeData || k.Version != last.Version+1 {
			p.add("keys", "context %s has %s key version %d after %d", k.ContextHash.Short(), k.Purpose, k.Version, last.Version)
		}
		r.newest[k.ContextHash] = k
		if k.State == storage.StateActive {
			active[k.ContextHash]++
		}
	}
	for i := range contexts {
		hash := hashOf(i)
		rotated, mayBe := h.rotations(i)
		if k, ok := r.newest[hash]; ok && k.State != storage.StateActive {
			p.add("keys", "the newest key of context %d is %s", i, k.State)
		}
		// Whoever rotates marks the old key last, and it is no harm if that
		// isn't done any more.
		if n := active[hash]; n > 1+mayBe {
			p.add("keys", "context %d has %d active keys", i, n)
		}
		if rotated && r.newest[hash].Version < 2 {
			p.add("keys", "context %d was rotated and has one key", i)
		}
	}
	if len(r.newest) > contexts {
		p.add("keys", "there are keys of %d contexts", len(r.newest))
	}
	return r
}

// rotations says whether a context was rotated, and how many rotations may have
// been cut off.
func (h *history) rotations(context int) (rotated bool, cutOff int) {
	for _, o := range h.ops {
		if o.Op != opRotate || o.Context != context {
			continue
		}
		rotated = rotated || o.succeeded()
		if !o.answered || o.troubled {
			cutOff++
		}
	}
	return rotated, cutOff
}

// checkObjects checks each object by itself, and whose its versions are.
func (h *history) checkObjects(st *stored, r ring, p *problems) {
	places := map[place]bool{}
	owners := map[string]bool{}
	counts := map[vault.KeyID]int64{}
	for _, o := range st.objects {
		at := place{indexOf(o.Context.WithoutNamespace()), o.Name}
		if places[at] {
			p.add("duplicate", "%v is there twice", at)
		}
		places[at] = true
		checkVersions(o, at, p)
		for i, rec := range o.versions {
			counts[rec.KeyID]++
			info, err := vault.Inspect(rec.Envelope)
			if key, there := r.byID[rec.KeyID]; err != nil || info.KeyID != rec.KeyID || !there || key.ContextHash != rec.ContextHash {
				p.add("orphan", "%v: version %d is sealed under key %s, which isn't stored for it", at, rec.Number, rec.KeyID.Short())
			}
			h.checkOwner(rec, o.owners[i], at, p)
			if owner := o.owners[i]; owner != "" && owners[owner] {
				p.add("duplicate", "%s has put two versions", owner)
			}
			owners[o.owners[i]] = true
		}
	}
	for id, n := range counts {
		if st.counts[id] != n {
			p.add("index", "the store counts %d versions under key %s, there are %d", st.counts[id], id.Short(), n)
		}
	}
	if st.updated != len(st.objects) {
		p.add("index", "the list by time has %d objects, by name there are %d", st.updated, len(st.objects))
	}
}

// checkVersions checks an object's numbers.
func checkVersions(o *storedObject, at place, p *problems) {
	first := uint64(1)
	if isKept(o.Name) && o.Number > keep {
		first = o.Number - keep + 1
	}
	if uint64(len(o.versions)) != o.Number-first+1 {
		p.add("gap", "%v has %d versions, the newest is %d", at, len(o.versions), o.Number)
	}
	for i, rec := range o.versions {
		if rec.Number != first+uint64(i) {
			p.add("gap", "%v has version %d where %d should be", at, rec.Number, first+uint64(i))
		}
	}
	if n := len(o.versions); n == 0 || o.versions[n-1].VersionID != o.VersionID {
		p.add("gap", "%v: the current version isn't the newest", at)
	}
}

// checkOwner checks a stored version against the operation that put it.
func (h *history) checkOwner(rec storage.ObjectRecord, owner string, at place, p *problems) {
	put := h.byID[owner]
	switch {
	case owner == "":
		p.add("decrypt", "%v: version %d doesn't decrypt to what was put", at, rec.Number)
	case put == nil || put.Op != opPut || (place{put.Context, put.Name}) != at:
		p.add("foreign", "%v: version %d was put by nobody", at, rec.Number)
	case put.refused():
		p.add("refused", "%v: version %d is of %s, which was refused: %s", at, rec.Number, owner, put.Class)
	case put.succeeded() && (*put.Version != rec.VersionID || *put.Object != rec.ID || put.Number != rec.Number):
		p.add("foreign", "%v: version %d is of %s, which was told of another", at, rec.Number, owner)
	}
}

// checkAcked checks that all that was acknowledged is there, or has a reason not
// to be.
func (h *history) checkAcked(st *stored, p *problems) {
	there := map[vault.ID]*storedObject{}
	for _, o := range st.objects {
		there[o.ID] = o
		if d := h.deleted[o.ID]; d != nil {
			p.add("undead", "object %s was deleted by %s and is there", o.ID, d.id())
		}
	}
	gone := map[place]int{} // objects
	for id, puts := range h.acked {
		o := there[id]
		if o == nil {
			if h.deleted[id] == nil {
				gone[place{puts[0].Context, puts[0].Name}]++
			}
			continue
		}
		stored := map[vault.ID]bool{}
		for _, rec := range o.versions {
			stored[rec.VersionID] = true
		}
		for _, put := range puts {
			trimmed := isKept(put.Name) && put.Number+keep <= o.Number
			if !stored[*put.Version] && !trimmed {
				p.add("lost", "version %d of %s, acknowledged to %s, is gone", put.Number, put.Name, put.id())
			}
		}
	}
	for at, n := range gone {
		mayBe := 0
		for _, d := range h.deletes[at] {
			if d.unknown() {
				mayBe++
			}
		}
		if n > mayBe {
			p.add("lost", "%v: %d acknowledged objects are gone, and %d deletes may have been done unheard", at, n, mayBe)
		}
	}
}

// checkMessages checks that messages decrypt, and that processes heed rotations.
func (h *history) checkMessages(st *stored, r ring, p *problems) {
	for _, o := range h.ops {
		if o.Op != opEncrypt || !o.succeeded() {
			continue
		}
		info, err := vault.Inspect(o.Data)
		key, there := r.byID[info.KeyID]
		if err != nil || !there || key.ContextHash != hashOf(o.Context) {
			p.add("orphan", "%s encrypted under key %s, which isn't stored for it", o.id(), info.KeyID.Short())
		}
		if st.opened[o.id()] != o.id() {
			p.add("decrypt", "what %s encrypted doesn't decrypt", o.id())
		}
		if h.quiet {
			h.checkHeeds(o, key, r, p)
		}
	}
}

// checkHeeds checks that a message was not encrypted under a key that had been
// superseded long before.
func (h *history) checkHeeds(o *operation, key storage.KeyRecord, r ring, p *problems) {
	for _, rot := range h.ops {
		if rot.Op != opRotate || rot.Context != o.Context || rot.Key == "" || rot.At+(activeTTL+slack).Milliseconds() > o.beganMillis {
			continue
		}
		var id vault.KeyID
		if id.UnmarshalText([]byte(rot.Key)) != nil || r.byID[id].Version == 0 {
			p.add("keys", "the key that %s made isn't stored", rot.id())
		} else if key.Version < r.byID[id].Version {
			p.add("unheeded", "%s encrypted under version %d long after version %d", o.id(), key.Version, r.byID[id].Version)
		}
	}
}
