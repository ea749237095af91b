package awskms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/keyctx"
)

const vectorFile = "awskms_v1.json"

// vector is one of testdata/vectors/awskms_v1.json: what a driver asks of KMS
// for a binding, and how wrapped bytes are taken apart. The ciphertext blobs are
// KMS's business and stand for any: no vector needs KMS.
type vector struct {
	Name   string         `json:"name"`
	Result vectors.Result `json:"result"`
	vectors.Key
	Binding   vectors.Hex `json:"binding"`
	URI       string      `json:"uri"`
	KeyARN    string      `json:"key_arn"`    // what every call names
	AnyRegion bool        `json:"any_region"` // the URI is without the Region
	OmitPairs bool        `json:"omit_pairs"` // how it is wrapped; it unwraps either way

	// Of valid ones: the request's EncryptionContext and CiphertextBlob.
	EncryptionContext map[string]string `json:"encryption_context"`
	CiphertextBlob    vectors.Hex       `json:"ciphertext_blob"`

	Wrapped vectors.Hex `json:"wrapped"`
}

func TestVectors(t *testing.T) {
	all := must(vectors.Read[vector](vectorFile))(t)
	if len(all) < 20 {
		t.Errorf("only %d vectors", len(all))
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			b := v.bindingOf(t)
			stub := &stubKMS{v: v}
			k := must(awskms.New(t.Context(), stub.client(), v.KeyARN, awskms.Options{AnyRegion: v.AnyRegion, OmitPairs: v.OmitPairs}))(t)
			if k.URI() != v.URI {
				t.Errorf("URI %s, want %s", k.URI(), v.URI)
			}
			if v.Result == vectors.Valid {
				v.checkValid(t, k, stub, b)
			} else {
				v.checkCorrupt(t, k, stub, b)
			}
		})
	}
}

// bindingOf checks what a vector says of the key and gives its binding.
func (v vector) bindingOf(t *testing.T) kek.Binding {
	b := kek.Binding{Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: v.Context}
	b.ContextHash = must(keyctx.KeyContext(v.Context).Hash())(t)
	b.KeyID = must(envelope.NewKey(v.ContextKey, b.ContextHash, b.Purpose, b.Version))(t).ID()
	if !bytes.Equal(b.ContextHash[:], v.ContextHash) || !bytes.Equal(b.KeyID[:], v.KeyID) || !bytes.Equal(b.AppendBytes(nil), v.Binding) {
		t.Fatal("the vector contradicts itself")
	}
	return b
}

func (v vector) checkValid(t *testing.T, k *awskms.KEK, stub *stubKMS, b kek.Binding) {
	if !maps.Equal(v.EncryptionContext, v.secondReader()) || !bytes.Equal(v.Wrapped[1:], v.CiphertextBlob) {
		t.Error("second reader: another encryption context or blob")
	}
	key := must(k.Unwrap(t.Context(), v.Wrapped, b))(t)
	if !bytes.Equal(key, v.ContextKey) {
		t.Errorf("it unwraps to %x", key)
	}
	wrapped := must(k.Wrap(t.Context(), v.ContextKey, b))(t)
	rewrapped := must(k.Rewrap(t.Context(), v.Wrapped, b))(t)
	if !bytes.Equal(wrapped, v.Wrapped) || !bytes.Equal(rewrapped, v.Wrapped) {
		t.Errorf("it wraps to %.60x and rewraps to %.60x", wrapped, rewrapped)
	}
	if len(stub.requests) != 3 {
		t.Fatalf("%d requests", len(stub.requests))
	}
	decrypt, encrypt, reEncrypt := stub.requests[0], stub.requests[1], stub.requests[2]
	for _, got := range []map[string]string{
		decrypt.EncryptionContext, encrypt.EncryptionContext, reEncrypt.SourceEncryptionContext, reEncrypt.DestinationEncryptionContext,
	} {
		if !maps.Equal(got, v.EncryptionContext) {
			t.Errorf("encryption context %v, want %v", got, v.EncryptionContext)
		}
	}
	for _, got := range []string{decrypt.KeyID, encrypt.KeyID, reEncrypt.SourceKeyID, reEncrypt.DestinationKeyID} {
		if got != v.KeyARN {
			t.Errorf("the request names the key %q", got)
		}
	}
	if !bytes.Equal(decrypt.CiphertextBlob, v.CiphertextBlob) || !bytes.Equal(reEncrypt.CiphertextBlob, v.CiphertextBlob) || !bytes.Equal(encrypt.Plaintext, v.ContextKey) {
		t.Error("a request has other bytes")
	}
}

func (v vector) checkCorrupt(t *testing.T, k *awskms.KEK, stub *stubKMS, b kek.Binding) {
	_, err := k.Unwrap(t.Context(), v.Wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
	_, err = k.Rewrap(t.Context(), v.Wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
	if len(stub.requests) != 0 {
		t.Error("KMS was asked")
	}
	if len(v.EncryptionContext) != 0 || len(v.CiphertextBlob) != 0 {
		t.Error("the vector says what is asked of KMS")
	}
}

// secondReader makes the encryption context by itself, as docs/SPEC.md says.
func (v vector) secondReader() map[string]string {
	own := map[string]string{
		"vault:key-id": text(v.KeyID), "vault:context-hash": text(v.ContextHash),
		"vault:purpose": strconv.Itoa(int(v.Purpose)), "vault:version": strconv.FormatUint(uint64(v.Version), 10),
	}
	with := maps.Clone(own)
	maps.Copy(with, v.Context)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(with)
	fits := b.Len()-1 <= 8192 // without the line's end
	switch {
	case v.Wrapped[0] == 0x01 && fits && !v.OmitPairs:
		return with
	case v.Wrapped[0] == 0x02 && (!fits || v.OmitPairs):
		return own
	}
	return nil
}

func text(h vectors.Hex) string {
	b, _ := h.MarshalJSON()
	return strings.Trim(string(b), `"`)
}

// stubKMS answers what a vector says, and keeps what it was asked.
type stubKMS struct {
	v        vector
	requests []stubRequest
}

type stubRequest struct {
	KeyID                                                                    string `json:"KeyId"`
	SourceKeyID                                                              string `json:"SourceKeyId"`
	DestinationKeyID                                                         string `json:"DestinationKeyId"`
	Plaintext, CiphertextBlob                                                []byte
	EncryptionContext, SourceEncryptionContext, DestinationEncryptionContext map[string]string
}

func (s *stubKMS) client() *kms.Client {
	some := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "the secret of nobody's access key"}, nil
	})
	return kms.New(kms.Options{Region: "us-west-2", HTTPClient: roundTripper(s.answer), Credentials: some})
}

func (s *stubKMS) answer(r *http.Request) (*http.Response, error) {
	body := map[string]any{"KeyId": s.v.KeyARN, "SourceKeyId": s.v.KeyARN, "Plaintext": []byte(s.v.ContextKey), "CiphertextBlob": []byte(s.v.CiphertextBlob)}
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DescribeKey") {
		body = map[string]any{"KeyMetadata": map[string]any{"KeyId": "x", "Arn": s.v.KeyARN, "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"}}
	} else {
		var request stubRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			return nil, err
		}
		s.requests = append(s.requests, request)
	}
	b, err := json.Marshal(body)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, err
}
