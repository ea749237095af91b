package awskms

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/embedvault/vault/kek"
)

// Check implements [kek.Checker] by DescribeKey, and GetKeyRotationStatus where
// the key can be used: if that isn't permitted, or the key can't rotate, Rotates
// is false and it is no error. It doesn't prove that Encrypt and Decrypt are
// permitted; only a round trip does.
//
// PrimaryVersion is "": KMS doesn't say under which key material a ciphertext
// was made, so there is nothing to compare with.
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	status, err := k.check(ctx)
	if err != nil {
		return kek.Status{}, fmt.Errorf("awskms: check of %s: %w", k.uri, err)
	}
	return status, nil
}

func (k *KEK) check(ctx context.Context) (kek.Status, error) {
	meta, err := k.describe(ctx)
	if err != nil {
		return kek.Status{}, err
	}
	if err := k.answered(meta.Arn); err != nil {
		return kek.Status{}, err
	}
	if meta.KeyState != types.KeyStateEnabled || !meta.Enabled {
		return kek.Status{Reason: reasonOf(meta)}, nil
	}
	rotates, err := k.rotates(ctx)
	return kek.Status{Usable: err == nil, Rotates: rotates}, err
}

// reasonOf is why a key can't be used, in KMS's own word.
func reasonOf(meta *types.KeyMetadata) string {
	if s := string(meta.KeyState); s != "" && s != string(types.KeyStateEnabled) {
		return s[:min(len(s), 64)]
	}
	return "not enabled"
}

// describe asks KMS about the key k.arn, which is an alias or a key ID until New
// has resolved it.
func (k *KEK) describe(ctx context.Context) (*types.KeyMetadata, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	out, err := await(ctx, k.calls, nil, func([]byte) (*kms.DescribeKeyOutput, error) {
		return k.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &k.arn, GrantTokens: k.tokens()}, limitAnswer)
	}, func(*kms.DescribeKeyOutput) {})
	if err != nil {
		return nil, k.failed(ctx, err, kek.Binding{}, nil)
	}
	if out.KeyMetadata == nil {
		return nil, fmt.Errorf("%w: the answer says nothing about a key", kek.ErrUnavailable)
	}
	return out.KeyMetadata, nil
}

// rotates asks whether KMS rotates the key by itself.
func (k *KEK) rotates(ctx context.Context) (bool, error) {
	out, err := await(ctx, k.calls, nil, func([]byte) (*kms.GetKeyRotationStatusOutput, error) {
		return k.client.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &k.arn}, limitAnswer)
	}, func(*kms.GetKeyRotationStatusOutput) {})
	if err == nil {
		return out.KeyRotationEnabled, nil
	}
	err = k.failed(ctx, err, kek.Binding{}, nil)
	var unsupported *types.UnsupportedOperationException // imported material, or a custom key store
	if errors.As(err, &unsupported) || errors.Is(err, kek.ErrDenied) {
		return false, nil
	}
	return false, err
}

// ended returns the error of a ctx that has ended.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &failure{class: kek.ErrUnavailable, text: err.Error(), causes: []error{err}}
	}
	return nil
}
