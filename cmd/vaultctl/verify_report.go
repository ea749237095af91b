package main

import (
	"errors"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
)

// verifyOut is what a verification found.
type verifyOut struct {
	Keys          int64 `json:"keys"`
	KeysUnwrapped int64 `json:"keys_unwrapped"`
	KeysShredded  int64 `json:"keys_shredded"`
	KeysDisabled  int64 `json:"keys_disabled"`
	KeysFailed    int64 `json:"keys_failed"`

	// Of keys that several KEKs can open, each for itself.
	Wrappings       int64 `json:"wrappings"`
	WrappingsFailed int64 `json:"wrappings_failed"`

	Objects          int64 `json:"objects"`
	Versions         int64 `json:"versions"`
	VersionsReadable int64 `json:"versions_readable"`
	VersionsShredded int64 `json:"versions_shredded"`
	VersionsDisabled int64 `json:"versions_disabled"`
	VersionsGone     int64 `json:"versions_gone"` // deleted or expired meanwhile
	VersionsFailed   int64 `json:"versions_failed"`
	VersionsLost     int64 `json:"versions_lost"` // of objects without a current version

	Failures []failure `json:"failures"` // the first 100
}

func (o *verifyOut) version(rec storage.ObjectRecord, a *app, err error) {
	o.Versions++
	switch {
	case err == nil:
		o.VersionsReadable++
	case errors.Is(err, vault.ErrKeyShredded):
		o.VersionsShredded++
	case errors.Is(err, vault.ErrKeyDisabled):
		o.VersionsDisabled++
	case errors.Is(err, vault.ErrNotFound):
		o.VersionsGone++
	default:
		o.VersionsFailed++
		o.fail(failure{
			KeyID: rec.KeyID.String(), ContextHash: rec.ContextHash.String(), Object: rec.Name,
			VersionID: rec.VersionID.String(), Error: a.clean(err.Error()),
		})
	}
}

func (o *verifyOut) fail(f failure) {
	if len(o.Failures) < maxFailuresShown {
		o.Failures = append(o.Failures, f)
	}
}

func (v *verification) print() error {
	o := v.out
	if o.Failures == nil {
		o.Failures = []failure{}
	}
	text := counts("verify", "keys", o.Keys, "unwrapped", o.KeysUnwrapped, "shredded", o.KeysShredded, "disabled", o.KeysDisabled, "failed", o.KeysFailed,
		"wrappings opened one by one", o.Wrappings, "of them failed", o.WrappingsFailed) +
		"\n" + counts("verify", "objects", o.Objects, "versions", o.Versions, "readable", o.VersionsReadable, "under shredded keys", o.VersionsShredded,
		"under disabled keys", o.VersionsDisabled, "gone meanwhile", o.VersionsGone, "failed", o.VersionsFailed,
		"without their object", o.VersionsLost)
	return v.a.print(o, text+failed(o.Failures))
}
