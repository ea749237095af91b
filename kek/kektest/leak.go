package kektest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// leakWindow is how many bytes of a secret make a leak. Fewer could be in a
// text by chance.
const leakWindow = 6

// leaks reports whether text has leakWindow consecutive bytes of secret in it:
// as they are, quoted, in hexadecimal, in base64, or as Go prints a slice.
func leaks(text string, secret []byte) bool {
	lower := strings.ToLower(text)
	for i := 0; i+leakWindow <= len(secret); i++ {
		part := secret[i : i+leakWindow]
		quoted := fmt.Sprintf("%q", part)
		switch {
		case strings.Contains(text, string(part)),
			strings.Contains(text, quoted[1:len(quoted)-1]),
			strings.Contains(lower, hex.EncodeToString(part)),
			strings.Contains(lower, fmt.Sprintf("% x", part)),
			strings.Contains(text, strings.Trim(fmt.Sprint(part), "[]")),
			strings.Contains(text, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}")),
			// Base64 encodes three bytes at a time: of any three windows in a row one
			// starts where such a group starts, wherever the secret stands in what was
			// encoded, and six bytes are then eight whole characters.
			strings.Contains(text, base64.StdEncoding.EncodeToString(part)),
			strings.Contains(text, base64.URLEncoding.EncodeToString(part)):
			return true
		}
	}
	return false
}
