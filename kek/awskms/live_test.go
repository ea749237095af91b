//go:build live

package awskms_test

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/kektest"
)

// TestLive runs the conformance suite against AWS. It makes some thousand calls
// and changes nothing of the keys. Without its variables it is skipped, which is
// why it has a build tag:
//
//	AWS_REGION=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… [AWS_SESSION_TOKEN=…] \
//	VAULT_TEST_AWS_KEY=key-ARN VAULT_TEST_AWS_OTHER_KEY=key-ARN \
//	go test -tags live -run TestLive ./...
func TestLive(t *testing.T) {
	key, other := os.Getenv("VAULT_TEST_AWS_KEY"), os.Getenv("VAULT_TEST_AWS_OTHER_KEY")
	if key == "" || other == "" {
		t.Skip("VAULT_TEST_AWS_KEY and VAULT_TEST_AWS_OTHER_KEY are not set")
	}
	client := kms.New(kms.Options{Region: os.Getenv("AWS_REGION"), Credentials: fromEnvironment{}, RetryMaxAttempts: 5})
	for name, o := range map[string]awskms.Options{"pairs": {}, "hash": {OmitPairs: true}} {
		t.Run(name, func(t *testing.T) {
			opened := func(key string) func(testing.TB) kek.Wrapper {
				return func(t testing.TB) kek.Wrapper { return must(awskms.New(t.Context(), client, key, o))(t) }
			}
			kektest.Run(t, kektest.Harness{
				New:     opened(key),
				Another: opened(other),
				Peer:    func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return opened(key)(t) },
				Costly:  true,
			})
		})
	}
}

// fromEnvironment is what the SDK's config package would read.
type fromEnvironment struct{}

func (fromEnvironment) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{
		AccessKeyID:     os.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    os.Getenv("AWS_SESSION_TOKEN"),
	}, nil
}
