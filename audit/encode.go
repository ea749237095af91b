package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/embedvault/vault"
)

// Limits of what is written of one event: a line stays below maxLine whatever the
// event says. What is longer is cut, and ends in "…". SPEC: docs/SPEC.md, "Audit log".
const (
	maxText      = 512  // bytes of a name, an actor, a reason, a URI, an error
	maxPairs     = 12   // pairs of a key context
	maxPairKey   = 128  // bytes
	maxPairValue = 1024 // bytes

	maxLine = 128 << 10 // bytes of a line, without its end
)

// timeForm is RFC 3339 in UTC with microseconds, always of the same length.
const timeForm = "2006-01-02T15:04:05.000000Z"

func appendTime(dst []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(dst, '"'), timeForm), '"')
}

// appendEvent appends the members of an event's object, without the braces around it.
func appendEvent(dst []byte, e vault.Event) []byte {
	dst = append(dst, `"time":`...)
	dst = appendTime(dst, e.Time)
	text := func(name, value string, limit int) {
		if value != "" {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = appendString(dst, value, limit)
		}
	}
	text("event", string(e.Name), maxText)
	text("actor", e.Actor, maxText)
	text("reason", e.Reason, maxText)
	text("context_hash", e.ContextHash.String(), maxText)
	if e.Context != nil {
		dst = appendPairs(append(dst, `,"context":`...), e.Context)
	}
	if !e.KeyID.IsZero() {
		text("key_id", e.KeyID.String(), maxText)
	}
	text("object", e.Object, maxText)
	if !e.ObjectID.IsZero() {
		text("object_id", e.ObjectID.String(), maxText)
	}
	if !e.VersionID.IsZero() {
		text("version_id", e.VersionID.String(), maxText)
	}
	text("kek", e.KEK, maxText)
	dst = strconv.AppendInt(append(dst, `,"duration_ns":`...), int64(e.Duration), 10)
	if e.Err != nil {
		text("error_class", Class(e.Err), maxText)
		text("error", errorText(e.Err), maxText)
	}
	return dst
}

// errorText is what an error says. One that panics must not take the event with it.
func errorText(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("an error of type %T that can't be printed", err)
		}
	}()
	return err.Error()
}

func appendPairs(dst []byte, kc vault.KeyContext) []byte {
	dst = append(dst, '{')
	for i, k := range slices.Sorted(maps.Keys(kc)) {
		if i == maxPairs {
			break
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, k, maxPairKey)
		dst = append(dst, ':')
		dst = appendString(dst, kc[k], maxPairValue)
	}
	return append(dst, '}')
}

// appendString appends s as a JSON string in which nothing is left that a terminal, a
// viewer or a reader of lines could take for anything but text: whatever isn't
// printable (line ends, escapes, U+007F to U+009F, U+2028, marks that turn the direction
// of writing, characters of no width, unassigned ones) is written as \uXXXX. Bytes that
// are no UTF-8 become U+FFFD. Beyond limit bytes it is cut.
func appendString(dst []byte, s string, limit int) []byte {
	cut := false
	if len(s) > limit {
		for s, cut = s[:limit], true; len(s) > 0 && !utf8.RuneStart(s[len(s)-1]); {
			s = s[:len(s)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 { // the first byte of what was cut
			s = s[:len(s)-1]
		}
	}
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r >= 0x20 && r < 0x7f:
			dst = append(dst, byte(r))
		case r != utf8.RuneError && strconv.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		default:
			dst = appendEscape(dst, r)
		}
	}
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscape(appendEscape(dst, high), low)
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
