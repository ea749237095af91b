package tinkkek

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// errEmpty is an ErrKeyset: the file has nothing in it.
var errEmpty = fmt.Errorf("%w: the file is empty", ErrKeyset)

// keys is a keyset that works. It doesn't change.
type keys struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32
	ids     map[uint32]bool  // of all keys
	enabled map[[5]byte]bool // Tink's prefixes of ciphertexts, and whether their key is enabled
	raw     bool             // some keys' ciphertexts have no prefix
	stamp   fs.FileInfo      // of the file, if it came from one
}

// generate returns a new keyset of one key.
func generate() (*keyset.Handle, error) {
	handle, err := keyset.NewHandle(aead.AES256CTRHMACSHA256KeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generate a keyset: %w", err)
	}
	return handle, nil
}

// addPrimary returns the keyset with one more key, the primary one.
func addPrimary(handle *keyset.Handle) (*keyset.Handle, error) {
	m := keyset.NewManagerFromHandle(handle)
	id, err := m.Add(aead.AES256CTRHMACSHA256KeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("add a key to the keyset: %w", err)
	}
	return m.Handle()
}

// newKeys checks that a handle is a keyset that can be used here, by using it.
func newKeys(handle *keyset.Handle) (k *keys, err error) {
	defer func() {
		if v := recover(); v != nil { // Tink panics at some handles that it made itself
			k, err = nil, fmt.Errorf("%w: Tink panicked with a value of type %T", ErrKeyset, v)
		}
	}()
	if handle == nil || handle.Len() == 0 {
		return nil, fmt.Errorf("%w: it has no keys", ErrKeyset)
	}
	info := handle.KeysetInfo()
	k = &keys{
		handle:  handle,
		primary: info.GetPrimaryKeyId(),
		ids:     map[uint32]bool{},
		enabled: map[[5]byte]bool{},
	}
	for _, key := range info.GetKeyInfo() {
		if isRemote(key.GetTypeUrl()) {
			return nil, fmt.Errorf("%w: its key %d is a reference to a KMS, whose errors Tink doesn't tell apart; see FromKMSClient", ErrKeyset, key.GetKeyId())
		}
		k.ids[key.GetKeyId()] = true
		if prefix, ok := prefixOf(key); ok {
			k.enabled[prefix] = key.GetStatus() == tinkpb.KeyStatusType_ENABLED
		} else {
			k.raw = true
		}
	}
	if k.aead, err = aead.New(handle); err != nil {
		return nil, fmt.Errorf("%w: it is not of AEAD keys, or not of such that work here: %w", ErrKeyset, err)
	}
	return k, k.test()
}

// isRemote reports whether keys of this type call a KMS.
func isRemote(typeURL string) bool {
	name := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
	return name == "KmsAeadKey" || name == "KmsEnvelopeAeadKey"
}

// prefixOf returns what ciphertexts of the key begin with, unless they are raw.
func prefixOf(key *tinkpb.KeysetInfo_KeyInfo) (prefix [5]byte, ok bool) {
	switch key.GetOutputPrefixType() {
	case tinkpb.OutputPrefixType_TINK:
		prefix[0] = 1
	case tinkpb.OutputPrefixType_CRUNCHY, tinkpb.OutputPrefixType_LEGACY:
	default:
		return prefix, false
	}
	binary.BigEndian.PutUint32(prefix[1:], key.GetKeyId())
	return prefix, true
}

// named returns whether the key that the ciphertext names is there, and enabled.
func (k *keys) named(ciphertext []byte) (there, enabled bool) {
	if len(ciphertext) < 5 {
		return false, false
	}
	enabled, there = k.enabled[[5]byte(ciphertext)]
	return there, enabled
}

// test encrypts and decrypts a few bytes: Tink finds many faults only then, and
// the FIPS module too.
func (k *keys) test() error { return k.opens(k) }

// opens checks that k decrypts what other encrypts.
func (k *keys) opens(other *keys) error {
	sample := make([]byte, 32)
	_, _ = rand.Read(sample) // never fails: crypto/rand crashes the program instead
	ad := []byte("vault/v1/check")
	ciphertext, err := other.aead.Encrypt(sample, ad)
	if err != nil {
		return fmt.Errorf("%w: it can't encrypt: %w", ErrKeyset, err)
	}
	got, err := k.aead.Decrypt(ciphertext, ad)
	if err != nil {
		return fmt.Errorf("%w: it can't decrypt what it ought to: %w", ErrKeyset, err)
	}
	if !bytes.Equal(got, sample) {
		return fmt.Errorf("%w: it decrypts to something else than was encrypted", ErrKeyset)
	}
	return nil
}

// atRest is the associated data of an encrypted keyset file.
func (o Options) atRest() []byte { return []byte("vault/v1/tink-keyset" + o.Name) }

// parse reads a keyset file's content. What Tink says of content that it can't
// read is not passed on: it quotes it, and the content is keys.
func parse(content []byte, o Options) (*keyset.Handle, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errEmpty
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(content, &fields) != nil {
		return nil, fmt.Errorf("%w: the file is not a JSON object, or cut short", ErrKeyset)
	}
	_, encrypted := fields["encryptedKeyset"]
	switch reader := keyset.NewJSONReader(bytes.NewReader(content)); {
	case encrypted && o.Encryption == nil:
		return nil, fmt.Errorf("%w: the file is encrypted and Options.Encryption isn't given", ErrKeyset)
	case encrypted:
		return parseEncrypted(reader, o)
	case o.Encryption != nil:
		return nil, fmt.Errorf("%w: Options.Encryption is given and the file isn't encrypted", ErrKeyset)
	default:
		handle, err := insecurecleartextkeyset.Read(reader)
		if err != nil {
			return nil, fmt.Errorf("%w: the file is JSON, but not a Tink keyset that this version of Tink reads", ErrKeyset)
		}
		return handle, nil
	}
}

func parseEncrypted(reader keyset.Reader, o Options) (*keyset.Handle, error) {
	own := &witness{aead: o.Encryption}
	handle, err := keyset.ReadWithAssociatedData(reader, own, o.atRest())
	if own.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncryption, own.err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the file is JSON, but not an encrypted Tink keyset that this version of Tink reads", ErrKeyset)
	}
	return handle, nil
}

// serialize is the inverse of parse.
func serialize(handle *keyset.Handle, o Options) ([]byte, error) {
	var buf bytes.Buffer
	w := keyset.NewJSONWriter(&buf)
	if o.Encryption == nil {
		if err := insecurecleartextkeyset.Write(handle, w); err != nil {
			return nil, fmt.Errorf("%w: Tink can't write it", ErrKeyset)
		}
		return buf.Bytes(), nil
	}
	own := &witness{aead: o.Encryption}
	err := handle.WriteWithAssociatedData(w, own, o.atRest())
	if own.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncryption, own.err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: Tink can't write it", ErrKeyset)
	}
	return buf.Bytes(), nil
}

// witness remembers the error of an AEAD, which Tink passes on as text only,
// and turns its panics into errors.
type witness struct {
	aead tink.AEAD
	err  error
}

func (w *witness) Encrypt(plaintext, ad []byte) ([]byte, error) {
	return w.see(w.aead.Encrypt, plaintext, ad)
}

func (w *witness) Decrypt(ciphertext, ad []byte) ([]byte, error) {
	return w.see(w.aead.Decrypt, ciphertext, ad)
}

func (w *witness) see(f func(in, ad []byte) ([]byte, error), in, ad []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("the AEAD panicked with a value of type %T", v)
		} else if err == nil && len(out) == 0 {
			err = errors.New("the AEAD returned nothing")
		}
		w.err = err
	}()
	return f(in, ad)
}
