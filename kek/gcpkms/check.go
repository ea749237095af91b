package gcpkms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
)

// Check implements [kek.Checker]. It asks for the key (GetCryptoKey), and if its
// primary version is enabled, or IAM refuses the question, it has a few bytes
// that are no key encrypted and decrypted: a key may well be seen by those who
// may not use it, and the reverse.
//
// Reason is the state of the primary version ("DISABLED", "DESTROY_SCHEDULED"),
// the key's purpose if it is a wrong one, or what Cloud KMS refuses with
// ("IAM_PERMISSION_DENIED", "NOT_FOUND"). PrimaryVersion is the number of the
// primary version in decimal, as the key has it, or as Encrypt used it where the
// key can't be asked for: after a rotation Encrypt may use the old version for a
// while. Rotates is known from the key alone.
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	status, err := k.check(ctx)
	if err != nil {
		return kek.Status{}, fmt.Errorf("gcpkms: check of %s: %w", k.URI(), err)
	}
	return status, nil
}

func (k *KEK) check(ctx context.Context) (kek.Status, error) {
	var status kek.Status
	key, err := k.lookup(ctx)
	if err == nil {
		status, err = k.statusOf(key)
		if err != nil || status.Reason != "" {
			return status, err
		}
	} else if !mayNotAsk(err) {
		return denial(status, err)
	}
	version, err := k.probe(ctx)
	if err != nil {
		return denial(status, err)
	}
	if status.PrimaryVersion == "" {
		status.PrimaryVersion = version
	}
	status.Usable = true
	return status, nil
}

// statusOf reads what the key says of itself.
func (k *KEK) statusOf(key *kmspb.CryptoKey) (kek.Status, error) {
	status := kek.Status{Rotates: key.GetRotationPeriod() != nil}
	primary := key.GetPrimary()
	if purpose := key.GetPurpose(); purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		status.Reason = purpose.String()
		return status, nil
	}
	if primary == nil { // of an import-only key nothing was imported to
		status.Reason = "no primary version"
		return status, nil
	}
	version, ok := versionOf(primary.GetName(), k.name)
	if !ok {
		return kek.Status{}, fmt.Errorf("%w: the primary version is not one of this key", kek.ErrCorrupt)
	}
	status.PrimaryVersion = strconv.FormatUint(version, 10)
	if state := primary.GetState(); state != kmspb.CryptoKeyVersion_ENABLED {
		status.Reason = state.String()
	}
	return status, nil
}

// denial is what becomes of an error: a key that can't be used is no error.
func denial(status kek.Status, err error) (kek.Status, error) {
	if !errors.Is(err, kek.ErrDenied) {
		return kek.Status{}, err
	}
	status.Reason = reasonOf(err)
	return status, nil
}

// probeText is what Check has encrypted, and its associated data, which is no
// binding's.
var probeText = []byte("vault/v1/check")

// probe has something encrypted and decrypted, and returns the version used.
func (k *KEK) probe(ctx context.Context) (version string, err error) {
	n, ciphertext, err := k.encrypt(ctx, probeText, probeText)
	if err != nil {
		return "", err
	}
	plaintext, err := k.decrypt(ctx, ciphertext, probeText)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(plaintext, probeText) {
		return "", fmt.Errorf("%w: it decrypts to something else than it encrypted", kek.ErrCorrupt)
	}
	return strconv.FormatUint(n, 10), nil
}
