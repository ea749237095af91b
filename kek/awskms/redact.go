package awskms

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/embedvault/vault/kek"
)

const (
	maxRead    = 4 << 10 // bytes of an error's text that are looked at
	maxText    = 1 << 10 // bytes of what is made of it; KMS's own are a few hundred
	minSecret  = 4       // shorter values are in any text by chance
	redaction  = "[redacted]"
	cutOffMark = "…"
)

// safeText is what err says, without what we sent: an error message may repeat
// the request.
func (k *KEK) safeText(err error, b kek.Binding, sent []byte) string {
	text := err.Error()
	cut := len(text) > maxRead
	text = redact(text[:min(len(text), maxRead)], k.secrets(b, sent), cut)
	text = strings.ToValidUTF8(strings.Map(printable, text), "?")
	if cut || len(text) > maxText {
		text = strings.ToValidUTF8(text[:min(len(text), maxText)], "") + cutOffMark
	}
	return text
}

// secrets returns what must not be printed, in every form that it may have.
func (k *KEK) secrets(b kek.Binding, sent []byte) []string {
	all := append(forms(string(sent)), hex.EncodeToString(sent),
		base64.RawStdEncoding.EncodeToString(sent), base64.RawURLEncoding.EncodeToString(sent))
	for _, token := range k.tokens() {
		all = append(all, forms(token)...)
	}
	for _, v := range b.Context {
		all = append(all, forms(v)...)
	}
	return all
}

// forms returns s as it is, as Go quotes it, and as JSON does: Go's way, and in
// nothing but ASCII.
func forms(s string) []string {
	if len(s) < minSecret {
		return nil
	}
	quoted, ascii := strconv.Quote(s), strconv.QuoteToASCII(s)
	all := []string{s, quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1]}
	if b, err := json.Marshal(s); err == nil {
		inside := string(b[1 : len(b)-1])
		all = append(all, inside, escaped(inside))
	}
	return all
}

// escaped writes what isn't ASCII as UTF-16, \u and four digits each.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			_, _ = fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// redact replaces every part of text that a secret covers. It looks for all of
// them before it replaces any: else one could hide the rest of another, or be
// found in the marks. cut says that text went on; it may end inside a secret.
func redact(text string, secrets []string, cut bool) string {
	hidden := make([]bool, len(text))
	for _, s := range secrets {
		if s != "" {
			hide(hidden, text, s, cut)
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(redaction)
		}
	}
	return b.String()
}

// hide marks where s is in text.
func hide(hidden []bool, text, s string, cut bool) {
	mark := func(from, to int) {
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}
	end := 0 // of what is marked
	for at := 0; ; at++ {
		i := strings.Index(text[at:], s)
		if i < 0 {
			break
		}
		at += i
		mark(max(at, end), at+len(s))
		end = at + len(s)
	}
	for i := max(0, len(text)-len(s)+1); cut && i < len(text); i++ {
		if strings.HasPrefix(s, text[i:]) {
			mark(i, len(text))
			return
		}
	}
}

// printable replaces what could forge a line in a log.
func printable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
		return ' '
	}
	return r
}
