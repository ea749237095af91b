package vectors

import "encoding/json"

// Result says what a reader must make of a vector.
type Result string

// The results. docs/SPEC.md says which file has which.
const (
	Valid          Result = "valid"
	Malformed      Result = "malformed"       // it is not the format that the file is about
	WrongContext   Result = "wrong_context"   // the key ID is not that of the given key, context, purpose and version
	DecryptFailed  Result = "decrypt_failed"  // authentication fails
	InvalidContext Result = "invalid_context" // not a key context, or not one's canonical encoding
	InvalidName    Result = "invalid_name"    // not an object's name
	Corrupt        Result = "corrupt"         // not wrapped by this KEK with this binding, or not the key that the ID names
	Policy         Result = "policy"          // not the KEKs that the policy names for the context
	WrongLocation  Result = "wrong_location"  // a field that was sealed for another place
	WrongType      Result = "wrong_type"      // a field that was sealed as another type
	NotIndexable   Result = "not_indexable"   // a value that the normaliser refuses
)

// The files.
const (
	EnvelopeFile     = "envelope_v1.json"
	KeyContextFile   = "keycontext_v1.json"
	BlockFile        = "block_v1.json"
	TextFile         = "text_v1.json"
	ObjectFile       = "object_v1.json"
	DataKeyFile      = "datakey_v1.json"
	StreamHeaderFile = "streamheader_v1.json"
	KeysetFile       = "keysets_v1.json"
	BindingFile      = "binding_v1.json"
	UnwrapFile       = "unwrap_v1.json"
)

// The files of the KEK drivers that are modules of their own. Their vectors are
// made and checked there; here they are listed, so that they don't change.
const (
	AWSKMSFile     = "awskms_v1.json"
	GCPKMSFile     = "gcpkms_v1.json"
	AzureKVFile    = "azurekv_v1.json"
	HashivaultFile = "hashivault_v1.json"
)

// ChildKeyFile came after those.
const ChildKeyFile = "childkey_v1.json"

// The files of fields came after that.
const (
	FieldFile      = "field_v1.json"
	BlindIndexFile = "blindindex_v1.json"
)

// Files lists every file of vectors.
func Files() []string {
	return []string{
		EnvelopeFile, KeyContextFile, BlockFile, TextFile, ObjectFile,
		DataKeyFile, StreamHeaderFile, KeysetFile, BindingFile, UnwrapFile,
		AWSKMSFile, GCPKMSFile, AzureKVFile, HashivaultFile, ChildKeyFile,
		FieldFile, BlindIndexFile,
	}
}

// Key is a context key and what it is for. KeyID is always the one that the
// other fields give, also where the envelope beside it has another.
type Key struct {
	Context     map[string]string `json:"context"` // full, vault:namespace and all
	ContextHash Hex               `json:"context_hash"`
	ContextKey  Hex               `json:"context_key"`
	Purpose     uint8             `json:"purpose"`
	Version     uint32            `json:"version"`
	KeyID       Hex               `json:"key_id"`
}

// Sealed is an envelope and the values it was made from. AAD is what the reader
// gives; Plaintext is what was sealed, also where the envelope doesn't open.
// DEK follows from ContextKey and Salt.
type Sealed struct {
	Key
	Salt      Hex `json:"salt"`
	DEK       Hex `json:"dek"`
	Nonce     Hex `json:"nonce"`
	AAD       Hex `json:"aad"`
	Plaintext Hex `json:"plaintext"`
	Envelope  Hex `json:"envelope"`
}

// Envelope is a vector of [EnvelopeFile] (a message, kinds 1 and 2),
// [DataKeyFile] (kinds 5 and 6) or [StreamHeaderFile] (kinds 3 and 4).
type Envelope struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Sealed
}

// Object is a vector of [ObjectFile]: an object value, kinds 7 and 8, and the
// name, version ID and expiry under which it is asked for. AAD follows from
// those.
type Object struct {
	Name       string `json:"name"`
	Result     Result `json:"result"`
	ObjectName Hex    `json:"object_name"` // bytes, since they may not be UTF-8
	VersionID  Hex    `json:"version_id"`
	ExpiresAt  int64  `json:"expires_at,string"` // a string, since many languages read JSON numbers as doubles
	Sealed
}

// Pair is one pair of a key context, as bytes.
type Pair struct {
	Key   Hex `json:"key"`
	Value Hex `json:"value"`
}

// KeyContext is a vector of [KeyContextFile].
type KeyContext struct {
	Name   string `json:"name"`
	Result Result `json:"result"`

	// Input says what is judged: "caller", the pairs as a caller's context, with
	// Namespace beside them; "full", the pairs as they are hashed and stored,
	// reserved ones and all; "encoding", bytes to be parsed.
	Input     string `json:"input"`
	Pairs     []Pair `json:"pairs"`
	Namespace Hex    `json:"namespace"` // empty: none
	Encoding  Hex    `json:"encoding"`
	Hash      Hex    `json:"hash"`
}

// The values of [KeyContext.Input].
const (
	InputCaller   = "caller"
	InputFull     = "full"
	InputEncoding = "encoding"
)

// Wrapping is one wrapping of a key.
type Wrapping struct {
	URI     string `json:"uri"`
	Wrapped Hex    `json:"wrapped"`
}

// Block is a vector of [BlockFile]: a wrapped-key block. Where it is malformed
// the fields are zero.
type Block struct {
	Name      string     `json:"name"`
	Result    Result     `json:"result"`
	Purpose   uint8      `json:"purpose"`
	Version   uint32     `json:"version"`
	Quorum    uint8      `json:"quorum"`
	Wrappings []Wrapping `json:"wrappings"`
	Block     Hex        `json:"block"`
}

// Text is a vector of [TextFile]: the text form of a message.
type Text struct {
	Name     string `json:"name"`
	Result   Result `json:"result"`
	Text     string `json:"text"`
	Envelope Hex    `json:"envelope"` // empty where it is malformed
}

// Keyset is an entry of [KeysetFile]: a Tink keyset that is a KEK in other
// files. Its keys stand there twice, for those who have no Tink.
type Keyset struct {
	Name    string          `json:"name"`
	URI     string          `json:"uri"`
	Primary uint32          `json:"primary"` // the ID of the key that wraps
	Keys    []KeysetKey     `json:"keys"`
	Keyset  json.RawMessage `json:"keyset"` // Tink's own JSON, cleartext
}

// KeysetKey is one key of a keyset, AES256_CTR_HMAC_SHA256.
type KeysetKey struct {
	ID      uint32 `json:"id"`
	AESKey  Hex    `json:"aes_key"`
	HMACKey Hex    `json:"hmac_key"`
}

// Binding is a vector of [BindingFile]: what a KEK, a keyset of [KeysetFile],
// makes of wrapped bytes with a binding. Unwrapped is empty where the result is
// [Corrupt]. It need not be 32 bytes: that is checked later.
type Binding struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Key
	Binding   Hex    `json:"binding"`
	URI       string `json:"uri"`
	Wrapped   Hex    `json:"wrapped"`
	Unwrapped Hex    `json:"unwrapped"`
}

// Choice is what a policy says for a context.
type Choice struct {
	Quorum uint8    `json:"quorum"`
	URIs   []string `json:"uris"`
}

// Unwrap is a vector of [UnwrapFile]: from wrappings, as a record or an envelope
// brings them, to the context key. The keysets of [KeysetFile] are the KEKs.
type Unwrap struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Key
	Choice    Choice     `json:"choice"`
	Previous  []Choice   `json:"previous"`
	Quorum    uint8      `json:"quorum"`
	Wrappings []Wrapping `json:"wrappings"`
	Unwrapped []Hex      `json:"unwrapped"` // of each wrapping, where its KEK unwraps it
}

// ChildKey is a vector of [ChildKeyFile]: from the wrappings of a record to a context
// key that is wrapped under another, Parent: the one that the policy's projection of
// the context names. Salt, WrappingKey (derived from the parent's) and Nonce are those
// of a wrapping that was made well, also where it was then spoiled.
type ChildKey struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Key
	Parent      Key        `json:"parent"`
	Binding     Hex        `json:"binding"`
	Salt        Hex        `json:"salt"`
	WrappingKey Hex        `json:"wrapping_key"`
	Nonce       Hex        `json:"nonce"`
	Quorum      uint8      `json:"quorum"`
	Wrappings   []Wrapping `json:"wrappings"`
}

// Field is a vector of [FieldFile]: a field, kinds 9 and 10, and where and as what it
// is asked for. Codec and Value are what was sealed, and Plaintext is the whole of it,
// also where it doesn't open.
type Field struct {
	Name         string `json:"name"`
	Result       Result `json:"result"`
	Table        string `json:"table"`
	Column       string `json:"column"`
	Row          []Hex  `json:"row"`           // the components of the row ID; none: the column alone
	LocationHash Hex    `json:"location_hash"` // of the three above
	WantedCodec  uint8  `json:"wanted_codec"`
	Codec        uint8  `json:"codec"`
	Value        Hex    `json:"value"`
	Sealed
}

// IndexPart is a column of a blind index and the value that it is computed of.
type IndexPart struct {
	Column     string `json:"column"`
	Normaliser string `json:"normaliser"`
	Value      Hex    `json:"value"`
	Normalised Hex    `json:"normalised"`
}

// BlindIndex is a vector of [BlindIndexFile]. Where the result is [NotIndexable] the
// fields after Parts are empty.
type BlindIndex struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Key
	Table    string      `json:"table"`
	Bits     int         `json:"bits"` // 0: the whole index
	Parts    []IndexPart `json:"parts"`
	IndexKey Hex         `json:"index_key"`
	Message  Hex         `json:"message"`
	Index    Hex         `json:"index"`
}
