package audit

import (
	"crypto/hmac"
	"math"

	"github.com/embedvault/vault"
)

// checkpoint checks a MAC. What it is of stands in the checkpoint itself: also after a
// finding it can be right, and then what is before it is as it was written.
func (c *checker) checkpoint(l line, prev [32]byte) {
	if len(c.keys) > 0 {
		key := c.key(l.keyID)
		if key == nil && c.oneKey {
			return
		}
		if key == nil {
			c.here(UnknownKey, l.seq, "the checkpoint was made with key %s, which was not given", l.keyID.Short())
			return
		}
		want := key.MAC(checkpointMessage(c.log, l.seq, prev, l.parsed, l.wire.Events, l.wire.Failed))
		if !hmac.Equal(want[:], l.mac[:]) {
			c.here(Forged, l.seq, "the MAC is wrong: this checkpoint, or records after the checkpoint before it, were changed")
			return
		}
		c.macSeen = true
	}
	c.unchecked, c.over = 0, nil
	c.report.Checkpoints++
	c.report.Checkpoint, c.report.CheckpointAt = l.seq, l.parsed
}

func (c *checker) key(id vault.KeyID) *vault.AuditKey {
	for _, k := range c.keys {
		if k.ID() == id {
			return k
		}
	}
	return nil
}

// compareHead compares the line that the head is of.
func (c *checker) compareHead() {
	if c.head == nil || c.head.Log != c.log || c.head.Seq != c.seq {
		return
	}
	c.headSeen = true
	if c.head.Hash != c.hash {
		c.here(OtherHead, c.seq, "the vault's store has another hash of it: the log was rewritten, or an older copy was written on")
	}
}

// tear takes what is behind the last line end of a file.
func (c *checker) tear(bytes int64, hash [32]byte) {
	if bytes > 0 {
		c.torn = &tear{bytes: bytes, hash: hash}
	}
}

// end finds what only shows at the end.
func (c *checker) end() {
	r := &c.report
	r.Last, r.After, r.Authenticated = c.seq, c.unchecked, len(c.keys) > 0
	if c.torn != nil {
		c.lineNo++
		c.note(Unfinished, 0, "the last line isn't whole (%d bytes): a process was killed in the middle of a record, and the log wasn't opened since; or somebody cut it", c.torn.bytes)
		r.Closed = false
	}
	if !c.begun {
		c.find(Malformed, c.file, 0, 0, 0, "there is no line of an audit log")
	}
	if o := c.over; o != nil {
		c.find(Unauthenticated, o.File, o.Line, o.Seq, o.Seq, "more than %d records without a checkpoint, and none follows", MaxUnchecked)
	}
	if r.Authenticated && !c.macSeen && c.begun {
		c.find(Unauthenticated, c.lastFile, 0, 0, 0, "no checkpoint is authentic: anybody could have written this")
	}
	c.endHead()
}

func (c *checker) endHead() {
	if c.head == nil || !c.begun {
		return
	}
	c.report.HeadCompared = true
	switch {
	case c.head.Log != c.log:
		c.find(AnotherLog, c.lastFile, 0, 0, 0, "the head is of log %s, not %s", c.head.Log, c.log)
	case c.headSeen:
	case c.head.Seq > c.seq:
		c.find(MissingEnd, c.lastFile, c.lastLine, min(c.seq, math.MaxUint64-1)+1, c.head.Seq, "the vault's store knows of them: they are missing at the end")
	case c.head.Seq < c.report.First: // it is in a part that wasn't given
		c.report.HeadCompared = false
	default:
		c.find(OtherHead, c.lastFile, 0, c.head.Seq, c.head.Seq, "the vault's store has a checkpoint with this number, and the log hasn't that record")
	}
}
