package awskms

import (
	"fmt"
	"regexp"
	"strings"
)

// The alphabets of key names. What doesn't match is refused, never cleaned.
//
// Partition, Region and account as in AWS's "Amazon Resource Names (ARNs)" and
// the KMS model's RegionType, ([a-z]+-){2,3}\d+; key IDs and aliases as in the
// KMS API reference, "KeyListEntry" and "CreateAlias". KMS writes hexadecimal
// digits in lower case, so an upper-case ID is somebody else's spelling.
const (
	partitionPattern = `aws(?:-[a-z]+)*`
	regionPattern    = `(?:[a-z]+-){2,3}[0-9]{1,2}`
	accountPattern   = `[0-9]{12}`
	keyIDPattern     = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}`
	aliasPattern     = `alias(?:/[a-zA-Z0-9_-]+)+`
)

var (
	arnForm   = regexp.MustCompile(`^arn:(` + partitionPattern + `):kms:(` + regionPattern + `):(` + accountPattern + `):(?:key/(` + keyIDPattern + `)|(` + aliasPattern + `))$`)
	keyIDForm = regexp.MustCompile(`^(?:` + keyIDPattern + `)$`)
	aliasForm = regexp.MustCompile(`^` + aliasPattern + `$`)
)

// Limits of names, in bytes. The URI of the longest key ARN stays far below
// what a KEK's URI may have.
const (
	maxARN   = 400
	maxAlias = 256 // with "alias/"; KMS API reference, "CreateAlias"
)

// name is what a caller calls a key: an ARN, a key ID or an alias. Parts that
// it doesn't say are empty.
type name struct {
	partition, region, account string
	keyID, alias               string
}

// parseName reads the name of a key as New takes it.
func parseName(s string) (name, error) {
	if len(s) <= maxARN {
		if m := arnForm.FindStringSubmatch(s); m != nil && len(m[5]) <= maxAlias {
			return name{partition: m[1], region: m[2], account: m[3], keyID: m[4], alias: m[5]}, nil
		}
		if keyIDForm.MatchString(s) {
			return name{keyID: s}, nil
		}
		if len(s) <= maxAlias && aliasForm.MatchString(s) {
			return name{alias: s}, nil
		}
	}
	return name{}, fmt.Errorf("%w: %.100q is not a key ARN, an alias ARN, a key ID or an alias name with \"alias/\"", ErrOptions, s)
}

// parseKeyARN reads the ARN of a key, which says everything.
func parseKeyARN(s string) (name, bool) {
	n, err := parseName(s)
	return n, err == nil && n.partition != "" && n.keyID != ""
}

// names reports whether n can be a name of the key that k is the ARN of. An
// alias says nothing about the key's ID.
func (n name) names(k name) bool {
	return (n.partition == "" || n.partition == k.partition && n.region == k.region && n.account == k.account) &&
		(n.keyID == "" || n.keyID == k.keyID)
}

// multiRegion reports whether n is a multi-Region key, whose replicas have the
// same ID. KMS API reference, "Multi-Region keys": their IDs begin with "mrk-".
func (n name) multiRegion() bool { return strings.HasPrefix(n.keyID, "mrk-") }

// arn puts the ARN of a key together.
func (n name) arn() string {
	return "arn:" + n.partition + ":kms:" + n.region + ":" + n.account + ":key/" + n.keyID
}

// sameKey reports whether both are the same key, or replicas of the same
// multi-Region key.
func (n name) sameKey(other name) bool {
	if n.multiRegion() {
		n.region = other.region
	}
	return n == other
}

// uri gives the URI of the key that n is the ARN of.
func (n name) uri(anyRegion bool) string {
	if anyRegion {
		n.region = ""
	}
	return scheme + n.arn()
}
