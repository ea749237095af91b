package manytest

import (
	"fmt"
	"sort"

	"github.com/embedvault/vault"
)

// What must hold, of every history that a journal tells and what is stored at
// its end:
//
//   - A call that succeeded did what it says. One that was refused did nothing.
//     Of one that was killed, or met a fault, either is right, and never twice.
//   - An error is an answer to the call; or, where something was taken away while
//     it ran, ErrStoreUnavailable or the context's. No call outlives its ctx.
//   - Of each context the keys have the versions 1, 2, 3 …, each once; the
//     highest one is active, and no other.
//   - Of each object the versions are 1, 2, 3 …, each once, or the newest ones of
//     these where others are not kept. Numbers follow real time.
//   - What was put and acknowledged is there and decrypts, unless it was trimmed,
//     or a Delete removed its object, or may have.
//   - What was encrypted and acknowledged decrypts. What is sealed is sealed under
//     a key that is stored, of its context.
//   - A read gives what was put there, no older than what was acknowledged before
//     it began.

// operation is one call.
type operation struct {
	entry            // of its end, or if it has none of its begin
	begin, end  int  // lines of the journal; end is after all others if it has none
	answered    bool // it has an end
	troubled    bool // something was taken away while it ran
	beganMillis int64
}

// succeeded, refused and unknown: one of them holds.
func (o *operation) succeeded() bool { return o.answered && o.Class == "" }
func (o *operation) refused() bool {
	return o.answered && o.Class != "" && isAnswer(o.Op, o.Guard, o.Class)
}
func (o *operation) unknown() bool { return !o.succeeded() && !o.refused() }

// place is where an object is.
type place struct {
	context int
	name    string
}

// history is what a journal tells.
type history struct {
	ops     []*operation // by begin
	byID    map[string]*operation
	quiet   bool // nothing was taken away at any time
	deletes map[place][]*operation

	acked    map[vault.ID][]*operation // puts that succeeded, by object, by end
	deleted  map[vault.ID]*operation   // deletes that succeeded, by object
	versions map[vault.ID]*operation   // puts that succeeded, by version
}

// problems are what is wrong, each with a word for its kind.
type problems []problem

type problem struct{ kind, text string }

func (p *problems) add(kind, format string, args ...any) {
	*p = append(*p, problem{kind, fmt.Sprintf(format, args...)})
}

// span is a time of trouble.
type span struct{ from, to int }

// newHistory puts a journal in order, and says what is wrong with its form, its
// errors, and what processes found wrong themselves.
func newHistory(all []entry, p *problems) *history {
	h := &history{
		byID: map[string]*operation{}, deletes: map[place][]*operation{}, quiet: true,
		acked: map[vault.ID][]*operation{}, deleted: map[vault.ID]*operation{}, versions: map[vault.ID]*operation{},
	}
	killed := map[[2]int]bool{}
	var troubles []span
	for line, e := range all {
		switch e.What {
		case saysBegin:
			o := &operation{entry: e, begin: line, end: len(all), beganMillis: e.At}
			h.ops = append(h.ops, o)
			h.byID[e.id()] = o
		case saysEnd:
			o := h.byID[e.id()]
			if o == nil || o.answered {
				p.add("journal", "%s has no begin, or two ends", e.id())
				continue
			}
			o.entry, o.end, o.answered = e, line, true
		case saysWrong:
			p.add("wrong", "%s: %s", e.id(), e.Text)
		case saysKilled:
			killed[[2]int{e.Slot, e.Life}] = true
		case saysDown:
			troubles = append(troubles, span{line, len(all)})
		case saysSettled:
			troubles[len(troubles)-1].to = line
		}
	}
	h.quiet = len(troubles) == 0
	for _, o := range h.ops {
		for _, s := range troubles {
			o.troubled = o.troubled || o.begin < s.to && o.end > s.from
		}
		h.note(o, killed[[2]int{o.Slot, o.Life}], p)
	}
	for _, puts := range h.acked {
		sort.Slice(puts, func(i, j int) bool { return puts[i].end < puts[j].end })
	}
	return h
}

// note sorts an operation in, and judges how it ended.
func (h *history) note(o *operation, killed bool, p *problems) {
	switch {
	case !o.answered:
		if !killed {
			p.add("journal", "%s, a %s, has no end, and its process wasn't killed", o.id(), o.Op)
		}
	case o.Class == "", o.refused():
	case o.Op == opRotate && o.Class == "key not found" && !h.usedBefore(o):
	case !isFault(o.Class) || !o.troubled:
		p.add("error", "%s, a %s: %s: %s", o.id(), o.Op, o.Class, o.Text)
	}
	at := place{o.Context, o.Name}
	if o.Op == opDelete {
		h.deletes[at] = append(h.deletes[at], o)
	}
	if !o.succeeded() {
		return
	}
	switch o.Op {
	case opPut:
		h.acked[*o.Object] = append(h.acked[*o.Object], o)
		if h.versions[*o.Version] != nil {
			p.add("duplicate", "version %s was acknowledged twice", o.Version)
		}
		h.versions[*o.Version] = o
	case opDelete:
		if h.deleted[*o.Object] != nil {
			p.add("duplicate", "object %s was deleted twice", o.Object)
		}
		h.deleted[*o.Object] = o
	}
}

// usedBefore reports whether the context was used before an operation began:
// then it has a key.
func (h *history) usedBefore(o *operation) bool {
	if o.Context < contexts/2 {
		return true // by Prepare
	}
	for _, other := range h.ops {
		if other.Context == o.Context && other.succeeded() && (other.Op == opPut || other.Op == opEncrypt) && other.end < o.begin {
			return true
		}
	}
	return false
}

// checkOrder holds the answers against each other.
func (h *history) checkOrder(p *problems) {
	for _, puts := range h.acked {
		h.checkNumbers(puts, p)
	}
	seen := map[vault.ID][]*operation{} // gets that succeeded, by end
	var gets []*operation
	for _, o := range h.ops {
		if o.Op == opGet && o.answered {
			gets = append(gets, o)
		}
	}
	sort.Slice(gets, func(i, j int) bool { return gets[i].end < gets[j].end })
	for _, o := range gets {
		switch {
		case o.Class == "not found":
			h.checkNotFound(o, p)
		case o.succeeded():
			h.checkGet(o, seen[*o.Object], p)
			seen[*o.Object] = append(seen[*o.Object], o)
		}
	}
}

// checkNumbers checks the puts of one object.
func (h *history) checkNumbers(puts []*operation, p *problems) {
	byNumber := map[uint64]*operation{}
	for i, o := range puts {
		if other := byNumber[o.Number]; other != nil {
			p.add("duplicate", "%s and %s both got version %d", o.id(), other.id(), o.Number)
		}
		byNumber[o.Number] = o
		for _, before := range puts[:i] {
			if before.end < o.begin && before.Number >= o.Number {
				p.add("order", "%s got version %d after %s had got version %d", o.id(), o.Number, before.id(), before.Number)
			}
		}
		switch o.Guard {
		case "":
		case guardAbsent:
			if o.Number != 1 {
				p.add("guard", "%s, if absent, got version %d", o.id(), o.Number)
			}
		default:
			if was := h.versions[mustID(o.Guard)]; was != nil && (*was.Object != *o.Object || was.Number+1 != o.Number) {
				p.add("guard", "%s, if version %d, got version %d", o.id(), was.Number, o.Number)
			}
		}
	}
}

// checkGet checks what a get gave. before are earlier gets of the same object.
func (h *history) checkGet(o *operation, before []*operation, p *problems) {
	put := h.byID[o.Value]
	switch {
	case put == nil || put.Op != opPut || put.Context != o.Context || put.Name != o.Name || put.begin > o.end:
		p.add("read", "%s read what nobody had put", o.id())
		return
	case put.refused():
		p.add("read", "%s read what %s was refused to put", o.id(), put.id())
	case put.succeeded() && (*put.Object != *o.Object || *put.Version != *o.Version || put.Number != o.Number):
		p.add("read", "%s read what %s put, with another version", o.id(), put.id())
	}
	for _, acked := range h.acked[*o.Object] {
		if acked.end < o.begin && acked.Number > o.Number {
			p.add("stale", "%s read version %d after %d was acknowledged", o.id(), o.Number, acked.Number)
		}
	}
	for _, get := range before {
		if get.end < o.begin && get.Number > o.Number {
			p.add("stale", "%s read version %d after %s had read %d", o.id(), o.Number, get.id(), get.Number)
		}
	}
	if gone := h.deleted[*o.Object]; gone != nil && gone.end < o.begin {
		p.add("stale", "%s read what %s had deleted", o.id(), gone.id())
	}
}

// checkNotFound looks for a reason why a get found nothing.
func (h *history) checkNotFound(o *operation, p *problems) {
	at := place{o.Context, o.Name}
	for _, d := range h.deletes[at] {
		if d.unknown() && d.begin < o.end {
			return
		}
	}
	for object, puts := range h.acked {
		if (place{puts[0].Context, puts[0].Name}) != at || puts[0].end > o.begin {
			continue
		}
		if gone := h.deleted[object]; gone == nil || gone.begin > o.end {
			p.add("lost", "%s didn't find what %s had put", o.id(), puts[0].id())
		}
	}
}
