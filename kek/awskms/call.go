package awskms

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// encrypt has key encrypted with the encryption context pairs.
func (k *KEK) encrypt(ctx context.Context, key []byte, pairs map[string]string) (*kms.EncryptOutput, error) {
	return await(ctx, k.calls, key, func(key []byte) (*kms.EncryptOutput, error) {
		return k.client.Encrypt(ctx, &kms.EncryptInput{
			KeyId: &k.arn, Plaintext: key, EncryptionContext: pairs, GrantTokens: k.tokens(),
		}, limitAnswer)
	}, func(*kms.EncryptOutput) {})
}

// decrypt has blob decrypted. The result's plaintext is the caller's to zero.
func (k *KEK) decrypt(ctx context.Context, blob []byte, pairs map[string]string) (*kms.DecryptOutput, error) {
	return await(ctx, k.calls, blob, func(blob []byte) (*kms.DecryptOutput, error) {
		return k.client.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &k.arn, CiphertextBlob: blob, EncryptionContext: pairs, GrantTokens: k.tokens(),
		}, limitAnswer)
	}, func(out *kms.DecryptOutput) {
		if out != nil {
			clear(out.Plaintext)
		}
	})
}

// reEncrypt has blob encrypted anew, from one encryption context to another.
func (k *KEK) reEncrypt(ctx context.Context, blob []byte, from, to map[string]string) (*kms.ReEncryptOutput, error) {
	return await(ctx, k.calls, blob, func(blob []byte) (*kms.ReEncryptOutput, error) {
		return k.client.ReEncrypt(ctx, &kms.ReEncryptInput{
			CiphertextBlob: blob,
			SourceKeyId:    &k.arn, SourceEncryptionContext: from,
			DestinationKeyId: &k.arn, DestinationEncryptionContext: to,
			GrantTokens: k.tokens(),
		}, limitAnswer)
	}, func(*kms.ReEncryptOutput) {})
}

// ignoreCiphertext makes of a dry run a question about permissions alone.
var ignoreCiphertext = []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}

// mayDecrypt reports whether KMS says that decrypt is permitted, for any blob of
// the key's.
func (k *KEK) mayDecrypt(ctx context.Context, pairs map[string]string) bool {
	_, err := await(ctx, k.calls, nil, func([]byte) (*kms.DecryptOutput, error) {
		return k.client.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &k.arn, EncryptionContext: pairs, GrantTokens: k.tokens(),
			DryRun: aws.Bool(true), DryRunModifiers: ignoreCiphertext,
		}, limitAnswer)
	}, func(*kms.DecryptOutput) {})
	return wouldSucceed(err)
}

// mayReEncrypt is mayDecrypt for reEncrypt.
func (k *KEK) mayReEncrypt(ctx context.Context, from, to map[string]string) bool {
	_, err := await(ctx, k.calls, nil, func([]byte) (*kms.ReEncryptOutput, error) {
		return k.client.ReEncrypt(ctx, &kms.ReEncryptInput{
			SourceKeyId: &k.arn, SourceEncryptionContext: from,
			DestinationKeyId: &k.arn, DestinationEncryptionContext: to,
			GrantTokens: k.tokens(),
			DryRun:      aws.Bool(true), DryRunModifiers: ignoreCiphertext,
		}, limitAnswer)
	}, func(*kms.ReEncryptOutput) {})
	return wouldSucceed(err)
}

// wouldSucceed reports whether a dry run went well, which is an error, too: "the
// request was rejected because the DryRun parameter was specified" (the KMS model).
func wouldSucceed(err error) bool {
	var dry *types.DryRunOperationException
	return errors.As(err, &dry) && answeredBy(err) == kms.ServiceID
}
