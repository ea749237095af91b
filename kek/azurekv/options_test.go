package azurekv_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

func TestOptionsThatMakeNoSense(t *testing.T) {
	e := newEnv(t, signed)
	good := e.options
	small := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	for what, c := range map[string]struct {
		client *azkeys.Client
		key    string
		edit   func(*azurekv.Options)
	}{
		"no client":              {nil, rootID, func(*azurekv.Options) {}},
		"nothing for an RSA key": {e.client, rootID, func(o *azurekv.Options) { *o = azurekv.Options{} }},
		"no verifying keys":      {e.client, rootID, func(o *azurekv.Options) { o.VerifyingKeys = nil }},
		"another verifying key":  {e.client, rootID, func(o *azurekv.Options) { o.VerifyingKeys = []*rsa.PublicKey{e.key.PublicKey()} }},
		"a nil verifying key":    {e.client, rootID, func(o *azurekv.Options) { o.VerifyingKeys = append(o.VerifyingKeys, nil) }},
		"an empty verifying key": {e.client, rootID, func(o *azurekv.Options) { o.VerifyingKeys = append(o.VerifyingKeys, &rsa.PublicKey{}) }},
		"a small verifying key":  {e.client, rootID, func(o *azurekv.Options) { o.VerifyingKeys = append(o.VerifyingKeys, &small.PublicKey) }},
		"exponent 1": {e.client, rootID, func(o *azurekv.Options) {
			o.VerifyingKeys = append(o.VerifyingKeys, &rsa.PublicKey{N: e.key.PublicKey().N, E: 1})
		}},
		"an even exponent": {e.client, rootID, func(o *azurekv.Options) {
			o.VerifyingKeys = append(o.VerifyingKeys, &rsa.PublicKey{N: e.key.PublicKey().N, E: 65536})
		}},
		"signing key, no version": {e.client, rootID, func(o *azurekv.Options) { o.SigningKey = signID }},
		"signing key, malformed":  {e.client, rootID, func(o *azurekv.Options) { o.SigningKey += "/" }},
		"signing key, other host": {e.client, rootID, func(o *azurekv.Options) { o.SigningKey = strings.Replace(o.SigningKey, "contoso", "evil", 1) }},
		"signs and wraps":         {e.client, rootID, func(o *azurekv.Options) { o.SigningKey = e.key.VersionID() }},
		"a client and no key":     {e.client, rootID, func(o *azurekv.Options) { o.SigningKey, o.SigningClient = "", e.client }},
	} {
		o := good
		c.edit(&o)
		k, err := azurekv.New(t.Context(), c.client, c.key, o)
		if k != nil {
			t.Errorf("%s: taken", what)
		}
		wantError(t, err, azurekv.ErrOptions)
	}
}

func TestNewFails(t *testing.T) {
	e := newEnv(t, signed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := azurekv.New(ctx, e.client, rootID, e.options)
	wantClass(t, err, kek.ErrUnavailable)
	wantError(t, err, context.Canceled)
	_, err = azurekv.New(t.Context(), e.client, "https://"+host+"/keys/nothing", e.options)
	wantClass(t, err, kek.ErrDenied)
	restore := e.key.Deny(azurekvtest.App, azurekvtest.Get)
	_, err = azurekv.New(t.Context(), e.client, rootID, e.options)
	wantClass(t, err, kek.ErrDenied)
	restore()
	defer e.srv.Inject(azurekvtest.Throttled(100))()
	_, err = azurekv.New(t.Context(), e.client, rootID, e.options)
	wantClass(t, err, kek.ErrUnavailable)
}

// Whoever reads needs the verifying keys alone, and not the signing key: not the
// permission to see it, and not that it still exists.
func TestReadersNeedNoSigningKey(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	e.signing.Delete()
	reader := must(azurekv.New(t.Context(), e.client, rootID, azurekv.Options{VerifyingKeys: e.options.VerifyingKeys}))(t)
	wantOpens(t, reader, wrapped, key)
	for name, call := range map[string]func() error{
		"Wrap":   func() error { _, err := reader.Wrap(t.Context(), key, binding(t)); return err },
		"Rewrap": func() error { _, err := reader.Rewrap(t.Context(), wrapped, binding(t)); return err },
	} {
		err := call()
		wantClass(t, err, kek.ErrDenied)
		if !strings.Contains(fmt.Sprint(err), "only reads") {
			t.Errorf("%s doesn't say why: %v", name, err)
		}
	}
	if status := must(reader.Check(t.Context()))(t); status.Usable || status.Reason != "ReadOnly" {
		t.Errorf("got %+v", status)
	}
	wantStale(t, reader, wrapped)
	e.key.Disable()
	if status := must(reader.Check(t.Context()))(t); status.Reason != "KeyDisabled" {
		t.Errorf("got %+v", status)
	}
}

// A signing key that can't be had at the start is asked for again when it is
// needed: the KEK opens, and reads.
func TestSigningKeyIsLookedUpLater(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	for name, c := range map[string]struct {
		happen func() (restore func())
		class  error
	}{
		"deleted":   {func() func() { e.signing.Delete(); return e.signing.Recover }, kek.ErrDenied},
		"denied":    {func() func() { return e.signing.Deny(azurekvtest.App, azurekvtest.Get) }, kek.ErrDenied},
		"throttled": {func() func() { f := azurekvtest.Throttled(100); f.Key = signID; return e.srv.Inject(f) }, kek.ErrUnavailable},
	} {
		restore := c.happen()
		k := e.open(t)
		wantOpens(t, k, wrapped, key)
		_, err := k.Wrap(t.Context(), key, binding(t))
		wantClass(t, err, c.class)
		if !strings.Contains(fmt.Sprint(err), signID) {
			t.Errorf("%s: the error doesn't say which key: %v", name, err)
		}
		restore()
		wantOpens(t, k, wrap(t, k, key), key)
	}
}

// A wrong SigningKey or VerifyingKeys is found when the KEK is opened; or, if
// Key Vault couldn't be asked then, by Check and Wrap.
func TestSigningKeyIsNotPinned(t *testing.T) {
	e := newEnv(t, signed)
	ok(t, e.signing.Rotate())
	e.options.SigningKey = e.signing.VersionID()
	_, err := azurekv.New(t.Context(), e.client, rootID, e.options)
	wantError(t, err, azurekv.ErrOptions)
	restore := e.signing.Deny(azurekvtest.App)
	k := e.open(t)
	restore()
	_, err = k.Wrap(t.Context(), secret(), binding(t))
	wantClass(t, err, kek.ErrDenied)
	if status := must(k.Check(t.Context()))(t); status.Usable || status.Reason != "signing key: NotPinned" {
		t.Errorf("got %+v", status)
	}
	if n := e.srv.Calls(azurekvtest.WrapKey); n != 0 {
		t.Errorf("%d calls of wrapKey for nothing", n)
	}
}

// New waits for the signing key's vault a moment, and not until ctx ends.
func TestSigningVaultHangs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	defer e.srv.Inject(azurekvtest.Fault{Key: signID, Hang: true})()
	start := time.Now()
	wantOpens(t, e.open(t), wrapped, key)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("New took %v", took)
	}
}

// A disabled key opens, so that a start doesn't depend on every customer's key;
// Check tells.
func TestDisabledKeyOpens(t *testing.T) {
	e := newEnv(t, signed)
	e.key.Disable()
	k := e.open(t)
	if status := must(k.Check(t.Context()))(t); status.Usable || status.Reason != "KeyDisabled" {
		t.Errorf("got %+v", status)
	}
}

// TestFormatsStayReadable: what any options wrapped is read under all others that
// can verify it. From unsigned to signed and back.
func TestFormatsStayReadable(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	withSignature := wrap(t, e.kek, key)
	o := e.options
	o.InsecureUnsigned = true
	both := must(azurekv.New(t.Context(), e.client, rootID, o))(t)
	o.SigningKey = ""
	reads := must(azurekv.New(t.Context(), e.client, rootID, o))(t) // verifies, doesn't sign
	o.VerifyingKeys = nil
	plain := must(azurekv.New(t.Context(), e.client, rootID, o))(t)

	without := wrap(t, plain, key)
	for _, k := range []*azurekv.KEK{both, reads} {
		wantOpens(t, k, withSignature, key)
		wantOpens(t, k, without, key)
	}
	if got := wrap(t, both, key)[0]; got != 0x01 {
		t.Errorf("with a signing key the format is %#x", got)
	}
	// Where the point of the options is to refuse.
	wantRefusedLocally(t, e, e.kek, "unsigned", without, binding(t))
	wantRefusedLocally(t, e, plain, "signed, with nothing pinned", withSignature, binding(t))

	// Rewrapping moves to what the options are for.
	moved := must(both.Rewrap(t.Context(), without, binding(t)))(t)
	wantOpens(t, e.kek, moved, key)
	back := must(reads.Rewrap(t.Context(), withSignature, binding(t)))(t)
	wantOpens(t, plain, back, key)
}

// What the caller does with its options afterwards is nobody's business.
func TestOptionsAreCopied(t *testing.T) {
	e := newEnv(t, signed)
	pinned := &rsa.PublicKey{N: new(big.Int).Set(e.signing.PublicKey().N), E: e.signing.PublicKey().E}
	e.options.VerifyingKeys = []*rsa.PublicKey{pinned}
	k := e.open(t)
	key := secret()
	wrapped := wrap(t, k, key)
	pinned.N.SetInt64(1)
	e.options.VerifyingKeys[0] = nil
	wantOpens(t, k, wrapped, key)
	wantOpens(t, k, wrap(t, k, key), key)
}

func TestFormatPrintsTheURI(t *testing.T) {
	e := newEnv(t, signed)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(format, e.kek); got != "azure-kv://contoso.vault.azure.net/keys/vault-root" {
			t.Errorf("%s prints %.200q", format, got)
		}
	}
}
