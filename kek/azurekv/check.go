package azurekv

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// Check implements [kek.Checker]. It asks for the key, for the signing key, and
// for the key's rotation policy. A key is usable if it exists, is enabled, within
// its dates, of a type that can wrap as the options say, and may wrap and unwrap;
// and so is the signing key, to sign, if it is among the pinned ones.
// Whether the caller has those permissions Key Vault doesn't tell without a call
// that uses them.
//
// Reason is "KeyDisabled", "KeyExpired", "KeyNotYetValid", "KeyNotFound",
// "KeyOperationForbidden" (key_ops lacks the operation), "KeyTypeMismatch", or of
// the signing key "NotPinned", after "signing key: " if it is that one; or
// "ReadOnly" if the options have nothing to wrap with. PrimaryVersion says what
// [KEK.WrappedVersion] says of what Wrap makes now. Rotates is true if the
// rotation policy says so and may be read; a Managed HSM's key without one, and a
// refusal, give false.
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	status, err := k.check(ctx)
	if err != nil {
		return kek.Status{}, fmt.Errorf("azurekv: check of %s: %w", k.key, err)
	}
	return status, nil
}

func (k *KEK) check(ctx context.Context) (kek.Status, error) {
	got, err := getKey(ctx, k.client, versionID{keyID: k.key})
	if notFound(call{opGet, k.key}, err) {
		return kek.Status{Reason: "KeyNotFound"}, nil
	}
	if err != nil {
		return kek.Status{}, err
	}
	reason := k.unusable(got)
	if reason == "" && k.signer != nil {
		if reason, err = k.signer.unusable(ctx); err != nil {
			return kek.Status{}, err
		}
	}
	rotates := k.rotates(ctx)
	if err := ctx.Err(); err != nil {
		return kek.Status{}, fail(kek.ErrUnavailable, err)
	}
	return kek.Status{Usable: reason == "", Reason: reason, PrimaryVersion: k.current(got.version), Rotates: rotates}, nil
}

// unusable returns why the KEK can't do its work with a key, or "".
func (k *KEK) unusable(got vaultKey) string {
	if k.writes == formatNone {
		reason := got.unusable(time.Now(), azkeys.KeyOperationUnwrapKey)
		return cmp.Or(reason, "ReadOnly")
	}
	reason := got.unusable(time.Now(), azkeys.KeyOperationWrapKey, azkeys.KeyOperationUnwrapKey)
	if reason == "" && !got.fits(k.writes) {
		return "KeyTypeMismatch"
	}
	return reason
}

func (s *signer) unusable(ctx context.Context) (string, error) {
	got, err := getKey(ctx, s.client, s.id)
	if notFound(call{opGet, s.id.keyID}, err) {
		return "signing key: KeyNotFound", nil
	}
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	if reason := got.unusable(time.Now(), azkeys.KeyOperationSign); reason != "" {
		return "signing key: " + reason, nil
	}
	if _, err := s.among(got); err != nil {
		return "signing key: NotPinned", nil
	}
	return "", nil
}

// unusable returns why a key can't be used for the operations, or "". An
// attribute that Key Vault doesn't give is taken for its default:
// https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#key-attributes
func (k vaultKey) unusable(now time.Time, ops ...azkeys.KeyOperation) string {
	a := k.attributes
	switch {
	case a.Enabled != nil && !*a.Enabled:
		return "KeyDisabled"
	case a.NotBefore != nil && now.Before(*a.NotBefore):
		return "KeyNotYetValid"
	case a.Expires != nil && !now.Before(*a.Expires):
		return "KeyExpired"
	}
	for _, op := range ops {
		has := func(p *azkeys.KeyOperation) bool { return p != nil && *p == op }
		if len(k.ops) > 0 && !slices.ContainsFunc(k.ops, has) {
			return "KeyOperationForbidden"
		}
	}
	return ""
}

// rotates tells whether the key's policy rotates it. What can't be asked counts
// as no.
func (k *KEK) rotates(ctx context.Context) bool {
	policy, err := await(ctx, func() (azkeys.GetKeyRotationPolicyResponse, error) {
		return k.client.GetKeyRotationPolicy(ctx, k.key.name, nil)
	}, nil)
	if err != nil {
		return false
	}
	for _, a := range policy.LifetimeActions {
		// "The value should be compared case-insensitively": azkeys.LifetimeActionType.
		if a != nil && a.Action != nil && a.Action.Type != nil &&
			strings.EqualFold(string(*a.Action.Type), string(azkeys.KeyRotationPolicyActionRotate)) {
			return true
		}
	}
	return false
}
