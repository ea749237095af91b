package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/embedvault/vault/internal/vectors"
)

// auditLog writes an audit log as docs/SPEC.md says, line by line.
type auditLog struct {
	key            key
	id             []byte
	files          []string
	seq            uint64
	prev           []byte
	events, failed uint64
	now            time.Time
	head           vectors.AuditHead
}

func newAuditLog() *auditLog {
	k := newKey("audit")
	k.context, k.purpose = map[string]string{"vault:system": "audit"}, 4
	id := det(16, "audit log ID")
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return &auditLog{key: k, id: id, prev: make([]byte, 32), now: time.Date(2026, 11, 25, 10, 0, 0, 123456000, time.UTC)}
}

func (a *auditLog) macKey() []byte { return expand(a.key.secret, []byte("vault/v1/audit")) }

func (a *auditLog) uuid() string {
	h := hex.EncodeToString(a.id)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func (a *auditLog) line(typ, rest string) {
	a.seq++
	line := fmt.Sprintf(`{"seq":%d,"prev":"%x","type":"%s","time":"%s"%s}`, a.seq, a.prev, typ, a.now.Format("2006-01-02T15:04:05.000000Z"), rest)
	sum := sha256.Sum256([]byte(line))
	a.prev = sum[:]
	a.files[len(a.files)-1] += line + "\n"
	a.now = a.now.Add(1001 * time.Millisecond)
}

func (a *auditLog) header() {
	a.files = append(a.files, "")
	a.line("header", fmt.Sprintf(`,"format":1,"log":"%s","part":%d,"events":%d,"failed":%d`, a.uuid(), len(a.files), a.events, a.failed))
}

func (a *auditLog) event(actor, class string) {
	a.events++
	rest := fmt.Sprintf(`,"event":"data.read","actor":"%s","reason":"ticket 7","context_hash":"%x","key_id":"%x","object":"stripe/api-key","duration_ns":1500`, actor, hashContext(newKey("").context), newKey("").id())
	if class != "" {
		a.failed++
		rest += fmt.Sprintf(`,"error_class":"%s","error":"vault: get: no"`, class)
	}
	a.line("event", rest)
}

func (a *auditLog) checkpoint() {
	m := hmac.New(sha256.New, a.macKey())
	m.Write(cat([]byte("vault/audit/v1"), a.id, be.AppendUint64(nil, a.seq+1), a.prev,
		be.AppendUint64(nil, uint64(a.now.UnixMicro())), be.AppendUint64(nil, a.events), be.AppendUint64(nil, a.failed)))
	a.line("checkpoint", fmt.Sprintf(`,"events":%d,"failed":%d,"key_id":"%x","mac":"%x"`, a.events, a.failed, a.key.id(), m.Sum(nil)))
	a.head = vectors.AuditHead{Log: a.uuid(), Seq: a.seq, Hash: a.prev}
}

func (a *auditLog) note(note, rest string) { a.line("note", `,"note":"`+note+`"`+rest) }

// fill writes the log of the cases: 1 header, 2 event, 3 checkpoint, 4 to 6 events, 7
// checkpoint, 8 event, 9 closed, 10 checkpoint.
func (a *auditLog) fill() {
	a.header()
	a.event("ann", "")
	a.checkpoint()
	a.event("bob", "")
	a.event(`björn\u202e\u000a`, "decrypt")
	a.event("日本", "")
	a.checkpoint()
	a.event("eve", "kek_denied")
	a.note("closed", "")
	a.checkpoint()
}

func (a *auditLog) vector(name string) vectors.Audit {
	head := a.head
	return vectors.Audit{
		Name: name, Result: vectors.Valid, Key: a.key.vector(), MACKey: a.macKey(), Files: slices.Clone(a.files),
		Head: &head, Events: a.events, Failed: a.failed, Closed: true, Findings: []vectors.AuditFinding{},
	}
}

func auditCases() []vectors.Audit {
	a := newAuditLog()
	a.fill()
	list := []vectors.Audit{a.vector("whole")}
	list = append(list, auditValid()...)
	return append(list, auditTampered()...)
}

func auditValid() []vectors.Audit {
	a := newAuditLog()
	a.fill()
	a.note("opened", "")
	a.note("torn", fmt.Sprintf(`,"bytes":17,"sha256":"%x"`, sha256.Sum256([]byte(`{"seq":13,"prev":`))))
	a.note("lost", `,"count":3`)
	a.event("ann", "")
	notes := a.vector("notes-and-open")
	notes.Closed, notes.After = false, 4

	b := newAuditLog()
	b.fill()
	b.header()
	b.note("opened", "")
	b.event("ann", "")
	b.note("closed", "")
	b.checkpoint()
	parts := b.vector("two-parts")

	c := newAuditLog()
	c.fill()
	noHead := c.vector("no-head")
	noHead.Head = nil
	torn := c.vector("torn-at-the-end")
	torn.Files[0] += `{"seq":11,"prev":"`
	torn.Closed = false
	return []vectors.Audit{notes, parts, noHead, torn}
}

// auditTampered are logs that somebody changed. Lines count from 1.
func auditTampered() []vectors.Audit {
	var list []vectors.Audit
	add := func(name string, edit func(lines []string) []string, change func(*vectors.Audit), findings ...vectors.AuditFinding) {
		a := newAuditLog()
		a.fill()
		v := a.vector(name)
		lines := edit(slices.Collect(strings.Lines(v.Files[0])))
		v.Files[0], v.Result, v.Findings = strings.Join(lines, ""), vectors.Tampered, findings
		if change != nil {
			change(&v)
		}
		list = append(list, v)
	}
	at := func(kind string, line int, seq, last uint64) vectors.AuditFinding {
		return vectors.AuditFinding{Kind: kind, Line: line, Seq: seq, Last: last}
	}
	add("changed", func(l []string) []string { l[3] = strings.Replace(l[3], "bob", "eve", 1); return l }, nil, at("changed", 4, 4, 4))
	add("removed", func(l []string) []string { return slices.Delete(l, 3, 4) }, func(v *vectors.Audit) { v.Events = 4 }, at("missing", 4, 4, 4))
	add("two-removed", func(l []string) []string { return slices.Delete(l, 3, 5) }, func(v *vectors.Audit) { v.Events, v.Failed = 3, 1 }, at("missing", 4, 4, 5))
	add("swapped", func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, func(v *vectors.Audit) { v.Events = 4 }, at("reordered", 5, 4, 4))
	add("doubled", func(l []string) []string { return slices.Insert(l, 4, l[3]) }, nil, at("duplicated", 5, 4, 4))
	add("garbage", func(l []string) []string { l[3] = "garbage\n"; return l }, func(v *vectors.Audit) { v.Events = 4 }, at("malformed", 4, 0, 0))
	add("a-member-twice", func(l []string) []string {
		l[3] = strings.Replace(l[3], `,"reason"`, `,"actor":"eve","reason"`, 1)
		return l
	}, func(v *vectors.Audit) { v.Events = 4 }, at("malformed", 4, 0, 0))
	add("cut-off", func(l []string) []string { return l[:8] }, func(v *vectors.Audit) { v.Closed, v.After = false, 1 }, at("missing_end", 8, 9, 10))
	add("forged-mac", func(l []string) []string {
		i := strings.Index(l[9], `"mac":"`) + 7
		digit := "0"
		if l[9][i] == '0' {
			digit = "1"
		}
		l[9] = l[9][:i] + digit + l[9][i+1:]
		return l
	}, func(v *vectors.Audit) { v.After, v.Head = 3, nil }, at("forged", 10, 10, 10))
	add("rewritten", func(l []string) []string {
		l[3] = strings.Replace(l[3], "bob", "eve", 1)
		return rechained(l)
	}, func(v *vectors.Audit) { v.After = 7 }, at("forged", 7, 7, 7), at("forged", 10, 10, 10), at("other_head", 10, 10, 10))
	add("unauthenticated", func(l []string) []string { return l[:2] }, func(v *vectors.Audit) { v.Head, v.Events, v.Failed, v.After, v.Closed = nil, 1, 0, 2, false }, at("unauthenticated", 0, 0, 0))
	add("cut-noticed", func(l []string) []string {
		a := newAuditLog()
		a.files, a.seq = []string{""}, 11
		sum := sha256.Sum256([]byte(strings.TrimSuffix(l[3], "\n")))
		a.prev = sum[:]
		a.note("cut", `,"first":5,"last":11`)
		return append(l[:4], a.files[0])
	}, func(v *vectors.Audit) { v.Head, v.Events, v.Failed, v.After, v.Closed = nil, 2, 0, 2, false }, at("missing", 5, 5, 11))
	return list
}

// rechained makes the chain right again, as somebody without the key can.
func rechained(lines []string) []string {
	prev := make([]byte, 32)
	for i, l := range lines {
		j := strings.Index(l, `"prev":"`) + 8
		lines[i] = l[:j] + hex.EncodeToString(prev) + l[j+64:]
		sum := sha256.Sum256([]byte(strings.TrimSuffix(lines[i], "\n")))
		prev = sum[:]
	}
	return lines
}
