package awskms_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

// Every way to name a key gives the same KEK.
func TestNamesOfOneKey(t *testing.T) {
	srv := awskmstest.New(t)
	for _, multi := range []bool{false, true} {
		key := srv.CreateKey(awskmstest.KeyOptions{MultiRegion: multi})
		key.SetAlias("alias/vault/prod_1-a")
		for _, name := range []string{key.ARN(), key.ID(), "alias/vault/prod_1-a", key.AliasARN("alias/vault/prod_1-a")} {
			k := must(awskms.New(t.Context(), srv.Client(key.Region()), name, awskms.Options{}))(t)
			if want := "aws-kms://" + key.ARN(); k.URI() != want || !keyctx.ValidURI(want) {
				t.Errorf("%s: URI %s, want %s", name, k.URI(), want)
			}
		}
	}
}

const uuid = "1234abcd-12ab-34cd-56ef-1234567890ab"

// Names that are not exactly as KMS writes them are refused without a call: not
// cleaned, not escaped, not sent.
func TestHostileKeyNames(t *testing.T) {
	srv := awskmstest.New(t)
	client := srv.Client(awskmstest.DefaultRegion)
	arn := "arn:aws:kms:us-west-2:111122223333:key/" + uuid
	for _, name := range []string{
		"", " ", "key", "vault", "1", uuid[:35], uuid + "0", uuid + "\n", " " + uuid, uuid + " ", uuid + "\x00",
		strings.ToUpper(uuid), "{" + uuid + "}", strings.ReplaceAll(uuid, "-", ""), "mrk-" + uuid, "MRK-" + strings.Repeat("a", 32),
		"mrk-" + strings.Repeat("a", 31), "mrk-" + strings.Repeat("a", 33), "mrk-" + strings.Repeat("A", 32),
		"key/" + uuid, "aws-kms://" + arn, "https://kms.us-west-2.amazonaws.com/" + uuid,
		arn + "/", arn + "/..", arn + "\n", "\n" + arn, arn + "%2f", arn + "?x", arn + "#x", arn + ":1", arn[:len(arn)-1],
		strings.ToUpper(arn), strings.Replace(arn, "arn:", "ARN:", 1), strings.Replace(arn, "aws", "AWS", 1),
		strings.Replace(arn, ":key/", ":key/../key/", 1), strings.Replace(arn, ":key/", ":key%2f", 1), strings.Replace(arn, ":key/", ":KEY/", 1),
		strings.Replace(arn, ":key/", ":key//", 1), strings.Replace(arn, ":key/", ":key:", 1), strings.Replace(arn, ":key/", ":grant/", 1),
		strings.Replace(arn, ":kms:", ":s3:", 1), strings.Replace(arn, ":kms:", ":kms@evil:", 1), strings.Replace(arn, ":aws:", ":evil:", 1),
		strings.Replace(arn, ":aws:", "::", 1), strings.Replace(arn, "us-west-2", "", 1), strings.Replace(arn, "us-west-2", "us-west", 1),
		strings.Replace(arn, "us-west-2", "us-west-2.evil.example", 1), strings.Replace(arn, "us-west-2", "US-WEST-2", 1), strings.Replace(arn, "us-west-2", "*", 1),
		strings.Replace(arn, "111122223333", "11112222333", 1), strings.Replace(arn, "111122223333", "1111222233334", 1),
		strings.Replace(arn, "111122223333", "", 1), strings.Replace(arn, "111122223333", "alice", 1), strings.Replace(arn, "111122223333", "１１１１22223333", 1),
		"arn:aws:kms::111122223333:key/mrk-" + strings.Repeat("a", 32), // the URI's form is no name of a key
		"alias", "alias/", "alias//", "alias/a/", "alias/a//b", "/alias/a", "Alias/a", "alias/../a", "alias/a.b", "alias/a b", "alias/ä", "alias/a%2fb",
		"alias/a\n", "alias/a:b", "alias/" + strings.Repeat("a", 251), "arn:aws:kms:us-west-2:111122223333:alias/", "arn:aws:kms:us-west-2:111122223333:alias/a/",
		"arn:aws:kms:us-west-2:111122223333:alias/" + strings.Repeat("a", 251), strings.Repeat("a", 1<<20),
	} {
		_, err := awskms.New(t.Context(), client, name, awskms.Options{})
		if err == nil {
			t.Fatalf("%.100q is taken", name)
		}
		wantOptionsError(t, err)
		if len(err.Error()) > 1<<10 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.100q: the error's text has %d bytes, or control characters", name, len(err.Error()))
		}
	}
	if got := srv.Calls(""); got != 0 {
		t.Errorf("%d calls were made", got)
	}
}

// Partitions and Regions that there are.
func TestPartitions(t *testing.T) {
	srv := awskmstest.New(t)
	for _, at := range []string{
		"aws:kms:eu-central-1", "aws:kms:ap-southeast-7", "aws-cn:kms:cn-northwest-1", "aws-us-gov:kms:us-gov-east-1", "aws:kms:il-central-1",
		"aws-iso:kms:us-iso-east-1", "aws-iso-b:kms:us-isob-east-1", "aws-eusc:kms:eusc-de-east-1", "aws:kms:mx-central-1",
	} {
		arn := "arn:" + at + ":111122223333:key/" + uuid
		remove := describes(srv, arn)
		k := must(awskms.New(t.Context(), srv.Client("us-west-2"), arn, awskms.Options{}))(t)
		if k.URI() != "aws-kms://"+arn {
			t.Errorf("URI %s", k.URI())
		}
		remove()
	}
}

// describes makes DescribeKey answer for any name that the key is arn.
func describes(srv *awskmstest.Server, arn string) (remove func()) {
	return srv.Inject(awskmstest.Fault{Operation: "DescribeKey", Body: []byte(
		`{"KeyMetadata":{"KeyId":"x","Arn":"` + arn + `","KeySpec":"SYMMETRIC_DEFAULT","KeyUsage":"ENCRYPT_DECRYPT","KeyState":"Enabled","Enabled":true}}`)})
}

// What KMS answers becomes the URI: it must be a key's ARN, and of the key that
// was asked for.
func TestNewTakesNoOtherKey(t *testing.T) {
	srv := awskmstest.New(t)
	arn := "arn:aws:kms:us-west-2:111122223333:key/" + uuid
	other := "arn:aws:kms:us-west-2:111122223333:key/" + strings.Replace(uuid, "1", "2", 1)
	for _, c := range []struct{ name, answer string }{
		{arn, other},
		{uuid, other},
		{arn, strings.Replace(arn, "us-west-2", "us-east-1", 1)},
		{arn, strings.Replace(arn, "111122223333", "444455556666", 1)},
		{"arn:aws:kms:us-west-2:111122223333:alias/a", strings.Replace(arn, "111122223333", "444455556666", 1)},
		{"arn:aws:kms:us-west-2:111122223333:alias/a", strings.Replace(arn, "us-west-2", "us-east-1", 1)},
		{"alias/a", ""},
		{"alias/a", uuid},
		{"alias/a", "arn:aws:kms:us-west-2:111122223333:alias/a"},
		{"alias/a", arn + "/../" + uuid},
		{"alias/a", arn + " "},
		{"alias/a", strings.Repeat("x", 1<<16)},
	} {
		remove := describes(srv, c.answer)
		_, err := awskms.New(t.Context(), srv.Client("us-west-2"), c.name, awskms.Options{})
		if err == nil {
			t.Fatalf("%s is taken for %.100s", c.answer, c.name)
		}
		wantClass(t, err, kek.ErrCorrupt)
		remove()
	}
}

func TestOtherKindsOfKeys(t *testing.T) {
	srv := awskmstest.New(t)
	for _, o := range []awskmstest.KeyOptions{
		{Spec: types.KeySpecRsa4096, Usage: types.KeyUsageTypeEncryptDecrypt},
		{Spec: types.KeySpecRsa2048, Usage: types.KeyUsageTypeSignVerify},
		{Spec: types.KeySpecHmac256, Usage: types.KeyUsageTypeGenerateVerifyMac},
		{Spec: types.KeySpecEccNistP256, Usage: types.KeyUsageTypeKeyAgreement},
	} {
		key := srv.CreateKey(o)
		_, err := awskms.New(t.Context(), srv.Client(key.Region()), key.ARN(), awskms.Options{})
		wantOptionsError(t, err)
		if err != nil && !strings.Contains(err.Error(), string(o.Spec)) {
			t.Errorf("the error doesn't say what the key is: %v", err)
		}
	}
	var client *kms.Client
	_, err := awskms.New(t.Context(), client, "alias/vault", awskms.Options{})
	wantOptionsError(t, err)
}

// New fails as every call does, and a disabled key can be opened: a policy may
// name it.
func TestNewWhenKMSWontAnswer(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	client := srv.Client(key.Region())
	remove := srv.Inject(awskmstest.Throttled())
	_, err := awskms.New(t.Context(), client, key.ARN(), awskms.Options{})
	wantClass(t, err, kek.ErrUnavailable)
	remove()
	_, err = awskms.New(t.Context(), srv.Client("eu-west-1"), key.ARN(), awskms.Options{}) // the client's Region isn't the key's
	wantClass(t, err, kek.ErrDenied)
	key.Disable()
	if status := must(open(t, srv, key, awskms.Options{}).Check(t.Context()))(t); status != (kek.Status{Reason: "Disabled"}) {
		t.Errorf("%+v", status)
	}
}
