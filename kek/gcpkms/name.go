package gcpkms

import (
	"regexp"
	"strconv"
	"strings"
)

// nameForm is the only form of a key's name that is taken, the one that the API
// itself uses for a CryptoKey. The alphabets are the published ones:
//
//   - a project ID is 6 to 30 lower-case letters, digits and hyphens, starts with
//     a letter and doesn't end with a hyphen
//     (https://cloud.google.com/resource-manager/docs/creating-managing-projects);
//     old ones have a domain and a colon in front;
//   - a location is a region's or multi-region's name, "europe-west1", "global"
//     (https://cloud.google.com/kms/docs/locations);
//   - IDs of key rings and keys match [a-zA-Z0-9_-]{1,63} (CreateKeyRingRequest
//     and CreateCryptoKeyRequest of google/cloud/kms/v1/service.proto).
//
// Project numbers, which the API takes as well, are refused: they would be a
// second name for the same key, and answers may come under the other.
var nameForm = regexp.MustCompile(`^projects/(?:[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9][a-z0-9-]{0,62}){1,4}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]` +
	`/locations/[a-z][a-z0-9-]{0,61}[a-z0-9]` +
	`/keyRings/[a-zA-Z0-9_-]{1,63}` +
	`/cryptoKeys/[a-zA-Z0-9_-]{1,63}$`)

// versions stands between the name of a key and the number of its version.
const versions = "/cryptoKeyVersions/"

// versionOf returns the number in name, which must be that of a version of key.
func versionOf(name, key string) (version uint64, ok bool) {
	rest, found := strings.CutPrefix(name, key)
	if !found {
		return 0, false
	}
	digits, found := strings.CutPrefix(rest, versions)
	if !found {
		return 0, false
	}
	version, err := strconv.ParseUint(digits, 10, 64)
	// One spelling only: no sign, no zeros in front.
	if err != nil || version == 0 || strconv.FormatUint(version, 10) != digits {
		return 0, false
	}
	return version, true
}
