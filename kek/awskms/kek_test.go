package awskms_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

// An option decides what is made, never what can be read: each KEK reads what
// each made, and rewraps it into its own format.
func TestFormatsStayReadable(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	with, without := open(t, srv, key, awskms.Options{}), open(t, srv, key, awskms.Options{OmitPairs: true})
	b, secret := bindingOf(t, orgA), random(32)
	formats := map[*awskms.KEK]byte{with: 0x01, without: 0x02}
	for maker, format := range formats {
		wrapped := wrap(t, maker, secret, b)
		if wrapped[0] != format {
			t.Fatalf("format byte 0x%02x, want 0x%02x", wrapped[0], format)
		}
		for reader, own := range formats {
			wantOpens(t, reader, wrapped, b, secret)
			rewrapped := must(reader.Rewrap(t.Context(), wrapped, b))(t)
			if rewrapped[0] != own {
				t.Errorf("rewrapped from 0x%02x to 0x%02x, want 0x%02x", format, rewrapped[0], own)
			}
			wantOpens(t, maker, rewrapped, b, secret)
		}
	}
}

// What KMS is sent, and so what the customer's CloudTrail shows.
func TestEncryptionContextInTheLog(t *testing.T) {
	kc := keyctx.KeyContext{"organization_id": "org_alpha_01", "vault:namespace": "billing"}
	for _, omit := range []bool{false, true} {
		b := newBench(t, awskms.Options{OmitPairs: omit})
		binding := bindingOf(t, kc)
		wrapped := wrap(t, b.kek, b.secret, binding)
		must(b.kek.Unwrap(t.Context(), wrapped, binding))(t)
		must(b.kek.Rewrap(t.Context(), wrapped, binding))(t)
		want := map[string]string{
			"vault:key-id": binding.KeyID.String(), "vault:context-hash": binding.ContextHash.String(),
			"vault:purpose": "1", "vault:version": "1",
		}
		if !omit {
			want["organization_id"], want["vault:namespace"] = "org_alpha_01", "billing"
		}
		events := b.srv.Events()
		last := events[len(events)-3:]
		for i, got := range []map[string]string{last[0].EncryptionContext, last[1].EncryptionContext, last[2].SourceEncryptionContext, last[2].DestinationEncryptionContext} {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("OmitPairs %v, %d: got %v, want %v", omit, i, got, want)
			}
		}
	}
}

// Every call names the KEK's own key by its ARN, whatever the wrapped bytes say.
func TestEveryCallNamesTheKey(t *testing.T) {
	b := newBench(t, awskms.Options{})
	other := open(t, b.srv, b.srv.CreateKey(awskmstest.KeyOptions{}), awskms.Options{})
	foreign := wrap(t, other, b.secret, b.binding)
	_, err := b.kek.Unwrap(t.Context(), foreign, b.binding)
	wantClass(t, err, kek.ErrCorrupt)
	_, err = b.kek.Rewrap(t.Context(), foreign, b.binding)
	wantClass(t, err, kek.ErrCorrupt)
	b.srv.Reset()
	b.wantWorks()
	_, _ = b.kek.Unwrap(t.Context(), foreign, b.binding)
	_, _ = b.kek.Rewrap(t.Context(), foreign, b.binding)
	for _, e := range b.srv.Events() {
		for _, id := range []string{e.KeyID, e.SourceKeyID, e.DestinationKeyID} {
			if id != "" && id != b.key.ARN() {
				t.Errorf("%s names %s", e.EventName, id)
			}
		}
		if e.KeyID == "" && (e.SourceKeyID == "" || e.DestinationKeyID == "") {
			t.Errorf("%s names no key", e.EventName)
		}
	}
}

// A key context can't replace the binding's own pairs, nor be lost to them.
func TestPairsOfTheDriverAreRefused(t *testing.T) {
	for _, omit := range []bool{false, true} {
		b := newBench(t, awskms.Options{OmitPairs: omit})
		for _, name := range []string{"vault:key-id", "vault:context-hash", "vault:purpose", "vault:version"} {
			binding := b.binding
			binding.Context = keyctx.KeyContext{"organization_id": "org_alpha_01", name: "1"}
			calls := b.srv.Calls("")
			_, err := b.kek.Wrap(t.Context(), b.secret, binding)
			wantClass(t, err, kek.ErrCorrupt)
			_, err = b.kek.Unwrap(t.Context(), b.wrapped, binding)
			wantClass(t, err, kek.ErrCorrupt)
			_, err = b.kek.Rewrap(t.Context(), b.wrapped, binding)
			wantClass(t, err, kek.ErrCorrupt)
			if b.srv.Calls("") != calls {
				t.Errorf("KMS was asked with the pair %s", name)
			}
		}
	}
}

// The largest context that goes with its pairs, and one byte more. The fake
// refuses what is larger.
func TestLargeContextGoesByItsHash(t *testing.T) {
	b := newBench(t, awskms.Options{})
	context := func(last int) keyctx.KeyContext {
		kc := keyctx.KeyContext{}
		for i := range 7 {
			kc[fmt.Sprint("k", i)] = strings.Repeat(`"`, 200) + strings.Repeat("é", 300)
		}
		kc["last"] = strings.Repeat("x", last)
		return kc
	}
	formatOf := func(n int) byte { return wrap(t, b.kek, b.secret, bindingOf(t, context(n)))[0] }
	low, high := 1, 1024 // format 1, format 2
	if formatOf(low) != 0x01 || formatOf(high) != 0x02 {
		t.Fatal("the test's contexts are of the wrong size")
	}
	for high-low > 1 {
		if mid := (low + high) / 2; formatOf(mid) == 0x01 {
			low = mid
		} else {
			high = mid
		}
	}
	for _, n := range []int{low, high} {
		binding := bindingOf(t, context(n))
		wrapped := wrap(t, b.kek, b.secret, binding)
		wantOpens(t, b.kek, wrapped, binding, b.secret)
		wantOpens(t, b.kek, must(b.kek.Rewrap(t.Context(), wrapped, binding))(t), binding, b.secret)
	}

	// Nothing of that size was ever of format 1: it is refused without a call, and
	// not sent for KMS to find fault with.
	binding := bindingOf(t, context(high))
	forged := wrap(t, b.kek, b.secret, binding)
	forged[0] = 0x01
	calls := b.srv.Calls("")
	_, err := b.kek.Unwrap(t.Context(), forged, binding)
	wantClass(t, err, kek.ErrCorrupt)
	if b.srv.Calls("") != calls {
		t.Error("KMS was asked")
	}
}

func TestBadWrappedBytesMakeNoCall(t *testing.T) {
	b := newBench(t, awskms.Options{})
	calls := b.srv.Calls("")
	long := append([]byte{0x01}, random(keyctx.MaxWrappedLen)...)
	for _, wrapped := range [][]byte{nil, {}, {0x01}, {0x02}, {0x00, 1}, {0x03, 1}, {0xff, 1}, long, random(1 << 20)[:1<<20]} {
		if len(wrapped) == 1<<20 {
			wrapped[0] = 0x01
		}
		_, err := b.kek.Unwrap(t.Context(), wrapped, b.binding)
		wantClass(t, err, kek.ErrCorrupt)
		_, err = b.kek.Rewrap(t.Context(), wrapped, b.binding)
		wantClass(t, err, kek.ErrCorrupt)
	}
	for _, n := range []int{0, 1, 31, 33, 64} {
		_, err := b.kek.Wrap(t.Context(), make([]byte, n), b.binding)
		wantClass(t, err, kek.ErrCorrupt)
	}
	if got := b.srv.Calls(""); got != calls {
		t.Errorf("%d calls were made", got-calls)
	}
}

// A deleted key comes back under its alias only as another key: the old KEK is
// denied, and the new one can't be made to open the old bytes.
func TestRecreatedKey(t *testing.T) {
	srv := awskmstest.New(t)
	old := srv.CreateKey(awskmstest.KeyOptions{})
	old.SetAlias("alias/vault")
	client := srv.Client(old.Region())
	before := must(awskms.New(t.Context(), client, "alias/vault", awskms.Options{}))(t)
	b, secret := bindingOf(t, orgA), random(32)
	wrapped := wrap(t, before, secret, b)

	old.Delete()
	_, err := awskms.New(t.Context(), client, "alias/vault", awskms.Options{})
	wantClass(t, err, kek.ErrDenied)
	srv.CreateKey(awskmstest.KeyOptions{}).SetAlias("alias/vault")
	after := must(awskms.New(t.Context(), client, "alias/vault", awskms.Options{}))(t)
	if before.URI() == after.URI() {
		t.Error("both keys have one URI")
	}
	_, err = before.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrDenied)
	_, err = before.Wrap(t.Context(), secret, b)
	wantClass(t, err, kek.ErrDenied)
	_, err = after.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
}

// An alias is resolved once. Pointing it to another key, the attacker's maybe,
// changes nothing for a KEK that is open.
func TestAliasRepointed(t *testing.T) {
	srv := awskmstest.New(t)
	key, other := srv.CreateKey(awskmstest.KeyOptions{}), srv.CreateKey(awskmstest.KeyOptions{})
	key.SetAlias("alias/vault")
	k := must(awskms.New(t.Context(), srv.Client(key.Region()), "alias/vault", awskms.Options{}))(t)
	other.SetAlias("alias/vault")
	srv.Reset()
	b, secret := bindingOf(t, orgA), random(32)
	wrapped := wrap(t, k, secret, b)
	wantOpens(t, k, wrapped, b, secret)
	must(k.Check(t.Context()))(t)
	if k.URI() != "aws-kms://"+key.ARN() {
		t.Errorf("URI %s", k.URI())
	}
	for _, e := range srv.Events() {
		if e.KeyID != key.ARN() {
			t.Errorf("%s asks for %s", e.EventName, e.KeyID)
		}
	}
}

// Processes in two Regions share records by the URI without a Region; without
// the option each key is its own.
func TestMultiRegionKey(t *testing.T) {
	srv := awskmstest.New(t)
	primary := srv.CreateKey(awskmstest.KeyOptions{MultiRegion: true})
	replica := primary.Replicate("ap-southeast-2")
	here, there := open(t, srv, primary, awskms.Options{AnyRegion: true}), open(t, srv, replica, awskms.Options{AnyRegion: true})
	want := "aws-kms://arn:aws:kms::111122223333:key/" + primary.ID()
	if here.URI() != want || there.URI() != want {
		t.Errorf("URIs %s and %s, want %s", here.URI(), there.URI(), want)
	}
	b, secret := bindingOf(t, orgA), random(32)
	wrapped := wrap(t, here, secret, b)
	wantOpens(t, there, wrapped, b, secret)
	wantOpens(t, here, must(there.Rewrap(t.Context(), wrapped, b))(t), b, secret)

	// The other Region is revoked by itself.
	replica.Disable()
	_, err := there.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrDenied)
	wantOpens(t, here, wrapped, b, secret)

	if got := open(t, srv, primary, awskms.Options{}).URI(); got != "aws-kms://"+primary.ARN() {
		t.Errorf("URI without the option %s", got)
	}
	single := srv.CreateKey(awskmstest.KeyOptions{})
	_, err = awskms.New(t.Context(), srv.Client(single.Region()), single.ARN(), awskms.Options{AnyRegion: true})
	wantOptionsError(t, err)
}

// A customer's key in the customer's account.
func TestCrossAccount(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{Account: "444455556666"})
	client := srv.Client(key.Region())
	_, err := awskms.New(t.Context(), client, key.ARN(), awskms.Options{})
	wantClass(t, err, kek.ErrDenied)
	app := srv.Principal(awskmstest.DefaultPrincipal)
	key.Allow(app, "kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey")
	k := must(awskms.New(t.Context(), client, key.ARN(), awskms.Options{}))(t)
	b, secret := bindingOf(t, orgA), random(32)
	wrapped := wrap(t, k, secret, b)
	wantOpens(t, k, must(k.Rewrap(t.Context(), wrapped, b))(t), b, secret)
	if status := must(k.Check(t.Context()))(t); !status.Usable {
		t.Errorf("%+v", status)
	}
	key.Deny(app)
	_, err = k.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrDenied)
}

func TestStatus(t *testing.T) {
	b := newBench(t, awskms.Options{})
	check := func(want kek.Status) {
		t.Helper()
		if got := must(b.kek.Check(t.Context()))(t); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	check(kek.Status{Usable: true})
	b.key.RotateYearly(true)
	check(kek.Status{Usable: true, Rotates: true})
	b.key.Deny(b.principal, "kms:GetKeyRotationStatus")
	check(kek.Status{Usable: true})
	for _, s := range []types.KeyState{
		types.KeyStateDisabled, types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion,
		types.KeyStatePendingImport, types.KeyStateUnavailable, types.KeyStateCreating, types.KeyStateUpdating,
	} {
		b.key.SetState(s)
		check(kek.Status{Reason: string(s)})
	}
	b.key.Enable()
	b.key.Allow(b.principal, "kms:GetKeyRotationStatus")
	b.srv.Inject(awskmstest.Fault{Operation: "GetKeyRotationStatus", Code: "ThrottlingException"})
	_, err := b.kek.Check(t.Context())
	wantClass(t, err, kek.ErrUnavailable)
	b.srv.Inject(awskmstest.Fault{Operation: "DescribeKey", Rewrite: func(m map[string]any) {
		m["KeyMetadata"].(map[string]any)["Enabled"] = false
	}})
	check(kek.Status{Reason: "not enabled"})

}

// Rotation of a key with imported material isn't KMS's to tell.
func TestStatusOfImportedKey(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{Origin: types.OriginTypeExternal})
	if got := must(open(t, srv, key, awskms.Options{}).Check(t.Context()))(t); got != (kek.Status{Usable: true}) {
		t.Errorf("%+v", got)
	}
}

// The struct leads to grant tokens and credentials: it prints its URI and
// nothing else, however it is printed, and options don't print tokens either.
func TestFormat(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	o := awskms.Options{GrantTokens: []string{"token-secret"}}
	k := open(t, srv, key, o)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, printed := range []any{k, *k} {
			if got := fmt.Sprintf(verb, printed); got != k.URI() {
				t.Errorf("%s of a %T prints %q", verb, printed, got)
			}
		}
		if got, want := fmt.Sprintf(verb, o), "{OmitPairs:false AnyRegion:false GrantTokens:1}"; got != want {
			t.Errorf("%s of options prints %q, want %q", verb, got, want)
		}
		for _, printed := range []any{struct{ k *awskms.KEK }{k}, struct{ k awskms.KEK }{*k}, struct{ O awskms.Options }{o}, &o} {
			if got := fmt.Sprintf(verb, printed); strings.Contains(got, "secret") {
				t.Errorf("%s of a %T prints %q", verb, printed, got)
			}
		}
	}
	if got := fmt.Sprint((*awskms.KEK)(nil)); got != "<nil>" {
		t.Errorf("a nil KEK prints %q", got)
	}
}

// A server's message that repeats what was sent is not passed on, nor one that
// forges lines in a log.
func TestNothingSecretInErrors(t *testing.T) {
	token := "token-of-a-secret-grant"
	b := newBench(t, awskms.Options{GrantTokens: []string{token}})
	b.binding = bindingOf(t, keyctx.KeyContext{"organization_id": "org_alpha_01", "note": `quoted "Zoë"`})
	b.wrapped = wrap(t, b.kek, b.secret, b.binding)
	var echoed string
	b.transport = echo(b.transport, &echoed)
	for _, code := range []string{"ValidationException", "AccessDeniedException", "InvalidCiphertextException", "SomethingNew"} {
		remove := b.srv.Inject(awskmstest.Fault{Code: code, Message: "placeholder"})
		for _, op := range b.operations() {
			text := fmt.Sprintf("%v %+v", op.call(t.Context()), op.call(t.Context()))
			if !strings.Contains(text, code) {
				t.Errorf("%s: %s isn't in %q", op.name, code, text)
			}
			for _, secret := range []string{"org_alpha_01", "Zoë", token, base64Of(b.secret), base64Of(b.wrapped[1:]), "\n", "\x1b"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %q is in %q", op.name, secret, text)
				}
			}
		}
		remove()
	}
	if !strings.Contains(echoed, "org_alpha_01") || !strings.Contains(echoed, token) {
		t.Fatalf("the test's server didn't repeat the request: %q", echoed)
	}
}

// The SDK's client stays the caller's: options of a call don't reach it.
func TestClientIsLeftAlone(t *testing.T) {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{})
	client := srv.Client(key.Region())
	before := len(client.Options().APIOptions)
	tokens := []string{"token-1"}
	k := must(awskms.New(t.Context(), client, key.ARN(), awskms.Options{GrantTokens: tokens}))(t)
	tokens[0] = "not a token"
	for range 3 {
		wrap(t, k, random(32), bindingOf(t, orgA))
	}
	if got := len(client.Options().APIOptions); got != before {
		t.Errorf("%d API options, had %d", got, before)
	}
	must(client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: aws.String(key.ARN()), Plaintext: []byte("x")}))(t)
}
