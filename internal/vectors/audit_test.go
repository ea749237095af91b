package vectors_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/internal/vectors"
)

// auditLine is what a reader of the chain needs.
type auditLine struct {
	Seq            uint64
	Prev, Type     string
	Time           time.Time
	Log, MAC       string
	Events, Failed uint64
}

// readAudit follows "Audit log" step by step; it is a second reader, which says no more
// than whether all is well.
func readAudit(v vectors.Audit) bool {
	macKey := expand(v.ContextKey, []byte("vault/v1/audit"))
	var log []byte
	prev, seq, good := make([]byte, 32), uint64(0), false
	for _, file := range v.Files {
		for line := range strings.Lines(file) {
			text, whole := strings.CutSuffix(line, "\n")
			if !whole {
				break
			}
			var l auditLine
			if json.Unmarshal([]byte(text), &l) != nil || l.Seq != seq+1 || l.Prev != hex.EncodeToString(prev) {
				return false
			}
			switch l.Type {
			case "header":
				log, _ = hex.DecodeString(strings.ReplaceAll(l.Log, "-", ""))
			case "checkpoint":
				m := hmac.New(sha256.New, macKey)
				m.Write(slices.Concat([]byte("vault/audit/v1"), log, u64(l.Seq), prev, u64(uint64(l.Time.UnixMicro())), u64(l.Events), u64(l.Failed)))
				if hex.EncodeToString(m.Sum(nil)) != l.MAC {
					return false
				}
				good = true
			}
			sum := sha256.Sum256([]byte(text))
			prev, seq = sum[:], l.Seq
			if v.Head != nil && v.Head.Seq == seq && !bytes.Equal(v.Head.Hash, prev) {
				return false
			}
		}
	}
	return good && (v.Head == nil || v.Head.Seq <= seq)
}

func u64(n uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(n >> (56 - 8*i))
	}
	return b[:]
}

func TestAuditLogs(t *testing.T) {
	results := map[vectors.Result]int{}
	for _, v := range read[vectors.Audit](t, vectors.AuditFile) {
		results[v.Result]++
		// A member that comes twice is more than this reader looks for: to the chain it
		// is a change like any other.
		if got := readAudit(v); got != (v.Result == vectors.Valid) {
			t.Errorf("%s: all is well: %v", v.Name, got)
		}
		if !bytes.Equal(v.MACKey, expand(v.ContextKey, []byte("vault/v1/audit"))) || (len(v.Findings) == 0) != (v.Result == vectors.Valid) {
			t.Errorf("%s: its fields don't agree", v.Name)
		}
	}
	if results[vectors.Valid] < 5 || results[vectors.Tampered] < 10 || len(results) != 2 {
		t.Errorf("%v", results)
	}
}
