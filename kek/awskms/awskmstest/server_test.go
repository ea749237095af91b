package awskmstest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
)

func must[R any](r R, err error) func(testing.TB) R {
	return func(t testing.TB) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// wantCode checks an error's code and HTTP status.
func wantCode(t testing.TB, err error, code string, status int) {
	t.Helper()
	var api smithy.APIError
	var resp *awshttp.ResponseError
	if !errors.As(err, &api) || api.ErrorCode() != code || !errors.As(err, &resp) || resp.HTTPStatusCode() != status || resp.RequestID == "" {
		t.Errorf("got %v, want %s with status %d and a request ID", err, code, status)
	}
}

func encrypt(ctx context.Context, c *kms.Client, key string, pairs map[string]string) ([]byte, error) {
	out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("plaintext"), EncryptionContext: pairs})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

func decrypt(ctx context.Context, c *kms.Client, key *string, blob []byte, pairs map[string]string) (*kms.DecryptOutput, error) {
	return c.Decrypt(ctx, &kms.DecryptInput{KeyId: key, CiphertextBlob: blob, EncryptionContext: pairs})
}

func TestCryptography(t *testing.T) {
	srv := awskmstest.New(t)
	key, other := srv.CreateKey(awskmstest.KeyOptions{}), srv.CreateKey(awskmstest.KeyOptions{})
	key.SetAlias("alias/a")
	c, ctx := srv.Client(key.Region()), t.Context()
	pairs := map[string]string{"a": "1", "b": "2"}
	blob := must(encrypt(ctx, c, "alias/a", pairs))(t)
	if strings.Contains(string(blob), "plaintext") {
		t.Fatal("it isn't encrypted")
	}
	for _, name := range []*string{nil, aws.String(key.ID()), aws.String(key.ARN()), aws.String("alias/a"), aws.String(key.AliasARN("alias/a"))} {
		out := must(decrypt(ctx, c, name, blob, pairs))(t)
		if string(out.Plaintext) != "plaintext" || aws.ToString(out.KeyId) != key.ARN() || len(aws.ToString(out.KeyMaterialId)) != 64 {
			t.Errorf("%+v", out)
		}
	}
	for _, wrong := range []map[string]string{nil, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": "3"}} {
		_, err := decrypt(ctx, c, nil, blob, wrong)
		wantCode(t, err, "InvalidCiphertextException", 400)
	}
	_, err := decrypt(ctx, c, aws.String(other.ARN()), blob, pairs)
	wantCode(t, err, "IncorrectKeyException", 400)

	first := aws.ToString(must(decrypt(ctx, c, nil, blob, pairs))(t).KeyMaterialId)
	must(c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: aws.String(key.ARN())}))(t)
	if got := must(decrypt(ctx, c, nil, blob, pairs))(t); aws.ToString(got.KeyMaterialId) != first {
		t.Error("old ciphertexts open under new material")
	}
	if got := must(decrypt(ctx, c, nil, must(encrypt(ctx, c, key.ID(), nil))(t), nil))(t); aws.ToString(got.KeyMaterialId) == first {
		t.Error("rotation changed nothing")
	}
}

func TestErrors(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	c, ctx := srv.Client(key.Region()), t.Context()
	try := func(key string) error { _, err := encrypt(ctx, c, key, nil); return err }

	wantCode(t, try("1234abcd-12ab-34cd-56ef-1234567890ab"), "NotFoundException", 404)
	wantCode(t, try("alias/none"), "NotFoundException", 404)
	wantCode(t, try(srv.CreateKey(awskmstest.KeyOptions{Region: "eu-west-1"}).ARN()), "NotFoundException", 404)
	wantCode(t, try(srv.CreateKey(awskmstest.KeyOptions{Account: "444455556666"}).ARN()), "AccessDeniedException", 400)
	wantCode(t, try(srv.CreateKey(awskmstest.KeyOptions{Spec: types.KeySpecHmac256, Usage: types.KeyUsageTypeGenerateVerifyMac}).ARN()), "InvalidKeyUsageException", 400)
	_, err := encrypt(ctx, c, key.ARN(), map[string]string{"a": strings.Repeat("x", 8192)})
	wantCode(t, err, "ValidationException", 400)
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key.ARN()), Plaintext: make([]byte, 4097)})
	wantCode(t, err, "ValidationException", 400)
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key.ARN()), Plaintext: []byte("x"), GrantTokens: []string{"forged"}})
	wantCode(t, err, "InvalidGrantTokenException", 400)
	_, err = c.ListKeys(ctx, &kms.ListKeysInput{})
	wantCode(t, err, "UnknownOperationException", 400)
	key.Disable()
	wantCode(t, try(key.ARN()), "DisabledException", 409)
	key.ScheduleDeletion()
	wantCode(t, try(key.ARN()), "KMSInvalidStateException", 409)
	key.Enable()

	p := srv.Principal(awskmstest.DefaultPrincipal)
	p.ExpireCredentials()
	wantCode(t, try(key.ARN()), "ExpiredTokenException", 400)
	p.RenewCredentials()
	if err := try(key.ARN()); err != nil {
		t.Error(err)
	}
	p.DeleteCredentials()
	wantCode(t, try(key.ARN()), "UnrecognizedClientException", 400)

	resp := must(http.Post(srv.URL, "application/x-amz-json-1.1", strings.NewReader("{}")))(t)
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("an unsigned request without an operation: status %d", resp.StatusCode)
	}
	req := must(http.NewRequest(http.MethodPost, srv.URL, strings.NewReader("{}")))(t)
	req.Header.Set("X-Amz-Target", "TrentService.Encrypt")
	resp = must(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("an unsigned request: status %d", resp.StatusCode)
	}
}

func TestFaults(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	c, ctx := srv.Client(key.Region()), t.Context()
	failures := func(n int) (failed int) {
		for range n {
			if _, err := encrypt(ctx, c, key.ARN(), nil); err != nil {
				failed++
			}
		}
		return failed
	}
	f := awskmstest.Throttled()
	f.Percent = 30
	remove := srv.Inject(f)
	if got := failures(50); got != 15 {
		t.Errorf("%d of 50 calls failed, want 30 %%", got)
	}
	remove()
	remove()
	f = awskmstest.InternalError()
	f.Times = 2
	srv.Inject(f)
	if got := failures(10); got != 2 {
		t.Errorf("%d calls failed, want 2", got)
	}
	srv.Inject(awskmstest.Fault{Operation: "Decrypt", Drop: true})
	srv.Inject(awskmstest.Fault{Region: "eu-west-1", Drop: true})
	srv.Inject(awskmstest.Fault{Key: srv.CreateKey(awskmstest.KeyOptions{}), Drop: true})
	if got := failures(3); got != 0 {
		t.Errorf("%d calls failed of a fault that isn't theirs", got)
	}
	start := time.Now()
	remove = srv.Inject(awskmstest.Fault{Delay: 50 * time.Millisecond})
	if failures(1) != 0 || time.Since(start) < 50*time.Millisecond {
		t.Error("no delay")
	}
	remove()
	hanging, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	remove = srv.Inject(awskmstest.Hang())
	if _, err := encrypt(hanging, c, key.ARN(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	remove()
	if failures(1) != 0 {
		t.Error("it still hangs")
	}
}

func TestLog(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	c, ctx := srv.Client(key.Region()), t.Context()
	pairs := map[string]string{"a": "1"}
	must(encrypt(ctx, c, key.ARN(), pairs))(t)
	key.Disable()
	_, _ = encrypt(ctx, c, key.ARN(), nil)
	events := srv.Events()
	if len(events) != 2 || srv.Calls("Encrypt") != 2 || srv.Calls("") != 2 || srv.Calls("Decrypt") != 0 {
		t.Fatalf("%d events, %d calls", len(events), srv.Calls(""))
	}
	if e := events[0]; e.EventName != "Encrypt" || e.KeyID != key.ARN() || e.Principal != awskmstest.DefaultPrincipal ||
		e.AWSRegion != key.Region() || e.EncryptionContext["a"] != "1" || e.ErrorCode != "" || e.RequestID == "" {
		t.Errorf("%+v", e)
	}
	if events[1].ErrorCode != "DisabledException" {
		t.Errorf("%+v", events[1])
	}
	srv.Reset()
	if len(srv.Events()) != 0 || srv.Calls("") != 0 {
		t.Error("Reset forgets nothing")
	}
}

func TestRotationStatus(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	c, ctx, id := srv.Client(key.Region()), t.Context(), aws.String(key.ARN())
	rotates := func() bool {
		return must(c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: id}))(t).KeyRotationEnabled
	}
	if rotates() {
		t.Error("a new key rotates")
	}
	must(c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: id}))(t)
	if !rotates() {
		t.Error("EnableKeyRotation changed nothing")
	}
}

// A condition on the encryption context can't hold for what has none.
func TestRequireContext(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{Account: "444455556666"})
	key.Allow(srv.Principal(awskmstest.DefaultPrincipal))
	c, ctx, id := srv.Client(key.Region()), t.Context(), aws.String(key.ARN())
	pairs := map[string]string{"tenant": "a"}
	describe := func() error { _, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id}); return err }
	use := func(pairs map[string]string) error { _, err := encrypt(ctx, c, *id, pairs); return err }

	key.RequireContext(pairs)
	wantCode(t, describe(), "AccessDeniedException", 400)
	wantCode(t, use(nil), "AccessDeniedException", 400)
	wantCode(t, use(map[string]string{"tenant": "b"}), "AccessDeniedException", 400)
	if err := use(map[string]string{"tenant": "a", "more": "x"}); err != nil {
		t.Error(err)
	}
	key.RequireContext(pairs, "kms:Encrypt")
	wantCode(t, use(nil), "AccessDeniedException", 400)
	if err := describe(); err != nil {
		t.Error(err)
	}
	key.RequireContext(nil)
	if err := use(nil); err != nil {
		t.Error(err)
	}
}

func TestDryRun(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	c, ctx, id := srv.Client(key.Region()), t.Context(), aws.String(key.ARN())
	ask := func() (decrypt, reEncrypt error) {
		modifiers := []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}
		_, decrypt = c.Decrypt(ctx, &kms.DecryptInput{KeyId: id, DryRun: aws.Bool(true), DryRunModifiers: modifiers})
		_, reEncrypt = c.ReEncrypt(ctx, &kms.ReEncryptInput{SourceKeyId: id, DestinationKeyId: id, DryRun: aws.Bool(true), DryRunModifiers: modifiers})
		return decrypt, reEncrypt
	}
	want := func(decrypt, reEncrypt string) {
		t.Helper()
		status := map[string]int{"DryRunOperationException": 412, "AccessDeniedException": 400, "DisabledException": 409}
		gotDecrypt, gotReEncrypt := ask()
		wantCode(t, gotDecrypt, decrypt, status[decrypt])
		wantCode(t, gotReEncrypt, reEncrypt, status[reEncrypt])
	}
	p := srv.Principal(awskmstest.DefaultPrincipal)
	want("DryRunOperationException", "DryRunOperationException")
	srv.VagueRefusals(true)
	key.Deny(p, "kms:ReEncryptTo")
	want("DryRunOperationException", "AccessDeniedException")
	key.Deny(p, "kms:Decrypt")
	want("AccessDeniedException", "AccessDeniedException")
	key.Disable()
	key.Allow(p)
	want("DisabledException", "DisabledException")
}
