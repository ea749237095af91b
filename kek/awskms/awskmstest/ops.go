package awskmstest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Limits of the KMS model, and of encryption contexts, in bytes.
const (
	maxPlaintext  = 4096
	maxCiphertext = 6144
	maxContext    = 8192 // of its JSON; how KMS measures isn't published
)

// request is the members of every request that the fake looks at.
type request struct {
	KeyID                        string            `json:"KeyId"`
	Plaintext                    []byte            `json:"Plaintext"`
	CiphertextBlob               []byte            `json:"CiphertextBlob"`
	EncryptionContext            map[string]string `json:"EncryptionContext"`
	SourceKeyID                  string            `json:"SourceKeyId"`
	DestinationKeyID             string            `json:"DestinationKeyId"`
	SourceEncryptionContext      map[string]string `json:"SourceEncryptionContext"`
	DestinationEncryptionContext map[string]string `json:"DestinationEncryptionContext"`
	GrantTokens                  []string          `json:"GrantTokens"`
	DryRun                       bool              `json:"DryRun"`
	DryRunModifiers              []string          `json:"DryRunModifiers"`
}

// asksPermission reports whether the request is about permissions only. KMS
// Developer Guide, "Testing your permissions". Other dry runs are not imitated.
func (r *request) asksPermission() bool {
	return r.DryRun && slices.Contains(r.DryRunModifiers, string(types.DryRunModifierTypeIgnoreCiphertext))
}

// answer is the members of an answer.
type answer = map[string]any

// call is a request on its way: who asks, where.
type call struct {
	server    *Server
	principal *Principal
	region    string
	request
}

// operations by name. They run under the server's mutex.
var operations = map[string]func(*call) (answer, *apiError){
	"Encrypt":              (*call).encrypt,
	"Decrypt":              (*call).decrypt,
	"ReEncrypt":            (*call).reEncrypt,
	"DescribeKey":          (*call).describeKey,
	"GetKeyRotationStatus": (*call).getKeyRotationStatus,
	"EnableKeyRotation":    (*call).enableKeyRotation,
	"RotateKeyOnDemand":    (*call).rotateKeyOnDemand,
}

func (c *call) encrypt() (answer, *apiError) {
	if n := len(c.Plaintext); n < 1 || n > maxPlaintext {
		return nil, errValidation("Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096 and at least 1")
	}
	k, err := c.usable(c.KeyID, "kms:Encrypt", c.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return answer{
		"KeyId": k.ARN(), "CiphertextBlob": k.seal(c.Plaintext, c.EncryptionContext),
		"EncryptionAlgorithm": types.EncryptionAlgorithmSpecSymmetricDefault,
	}, nil
}

func (c *call) decrypt() (answer, *apiError) {
	if c.asksPermission() {
		_, err := c.usable(c.KeyID, "kms:Decrypt", c.EncryptionContext)
		return nil, orDryRun(err)
	}
	k, plaintext, materialID, err := c.opened(c.KeyID, "kms:Decrypt", c.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return answer{
		"KeyId": k.ARN(), "Plaintext": plaintext, "KeyMaterialId": materialID,
		"EncryptionAlgorithm": types.EncryptionAlgorithmSpecSymmetricDefault,
	}, nil
}

func (c *call) reEncrypt() (answer, *apiError) {
	if c.asksPermission() {
		_, err := c.usable(c.SourceKeyID, "kms:ReEncryptFrom", c.SourceEncryptionContext)
		if err == nil {
			_, err = c.usable(c.DestinationKeyID, "kms:ReEncryptTo", c.DestinationEncryptionContext)
		}
		return nil, orDryRun(err)
	}
	source, plaintext, materialID, err := c.opened(c.SourceKeyID, "kms:ReEncryptFrom", c.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	destination, err := c.usable(c.DestinationKeyID, "kms:ReEncryptTo", c.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	return answer{
		"KeyId": destination.ARN(), "CiphertextBlob": destination.seal(plaintext, c.DestinationEncryptionContext),
		"SourceKeyId": source.ARN(), "SourceKeyMaterialId": materialID,
		"DestinationKeyMaterialId":       destination.shared.current().id,
		"SourceEncryptionAlgorithm":      types.EncryptionAlgorithmSpecSymmetricDefault,
		"DestinationEncryptionAlgorithm": types.EncryptionAlgorithmSpecSymmetricDefault,
	}, nil
}

func (s *keyShared) current() material { return s.materials[len(s.materials)-1] }

// opened opens the request's ciphertext by the key that is named, or, as KMS
// does, by the one that the ciphertext names.
func (c *call) opened(keyID, action string, pairs map[string]string) (*Key, []byte, string, *apiError) {
	if n := len(c.CiphertextBlob); n < 1 || n > maxCiphertext {
		return nil, nil, "", errValidation("Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144 and at least 1")
	}
	raw, isBlob := sealedBy(c.CiphertextBlob)
	by := c.server.keyOf(raw, c.region)
	if keyID == "" && isBlob && by != nil {
		keyID = by.ARN()
	}
	if keyID == "" {
		return nil, nil, "", errInvalidCiphertext()
	}
	k, err := c.usable(keyID, action, pairs)
	vague := c.server.vague && isBlob
	switch {
	case err != nil && err.code == accessDenied && vague:
		return nil, nil, "", errVague()
	case err != nil:
		return nil, nil, "", err
	case by != k && vague:
		return nil, nil, "", errVague()
	case !isBlob || by == nil:
		return nil, nil, "", errInvalidCiphertext()
	case by != k:
		return nil, nil, "", errIncorrectKey()
	}
	plaintext, materialID, ok := k.open(c.CiphertextBlob, pairs)
	if !ok {
		return nil, nil, "", errInvalidCiphertext()
	}
	return k, plaintext, materialID, nil
}

// keyOf returns the key of the Region with these digits, or nil.
func (s *Server) keyOf(raw [16]byte, region string) *Key {
	for _, k := range s.keys {
		if k.raw == raw && k.opts.Region == region {
			return k
		}
	}
	return nil
}

// usable finds a key for a cryptographic operation.
func (c *call) usable(keyID, action string, pairs map[string]string) (*Key, *apiError) {
	if b, err := json.Marshal(pairs); err != nil || len(b) > maxContext {
		return nil, errValidation("EncryptionContext is too large")
	}
	k, apiErr := c.permitted(keyID, action, pairs)
	if apiErr != nil {
		return nil, apiErr
	}
	switch {
	case k.opts.Usage != types.KeyUsageTypeEncryptDecrypt || k.opts.Spec != types.KeySpecSymmetricDefault:
		return nil, errKeyUsage(k)
	case k.state == types.KeyStateDisabled:
		return nil, errDisabled(k)
	case k.state != types.KeyStateEnabled:
		return nil, errState(k)
	}
	return k, nil
}

// permitted finds a key by ID, ARN or alias and looks whether the caller may.
func (c *call) permitted(keyID, action string, pairs map[string]string) (*Key, *apiError) {
	k, err := c.find(keyID)
	if err != nil {
		return nil, err
	}
	for _, token := range c.GrantTokens {
		if !strings.HasPrefix(token, "token-") {
			return nil, &apiError{"InvalidGrantTokenException", 400, "Invalid grant token"}
		}
	}
	if !k.permits(c.principal, action, pairs) {
		return nil, errAccessDenied(c.principal, action, k)
	}
	return k, nil
}

// find resolves the name of a key. IDs and alias names are those of the caller's
// account; an ARN must be of the Region that is asked.
func (c *call) find(name string) (*Key, *apiError) {
	prefix := "arn:aws:kms:" + c.region + ":"
	arn := name
	switch {
	case strings.HasPrefix(name, "arn:") && !strings.HasPrefix(name, prefix):
		return nil, errNotFound("Invalid arn " + c.region)
	case strings.HasPrefix(name, "alias/"):
		arn = prefix + c.principal.account() + ":" + name
	case !strings.HasPrefix(name, "arn:"):
		arn = prefix + c.principal.account() + ":key/" + name
	}
	if k := c.server.aliases[arn]; k != nil {
		return k, nil
	}
	if k := c.server.keys[arn]; k != nil {
		return k, nil
	}
	if strings.Contains(arn, ":alias/") {
		return nil, errNotFound("Alias " + arn + " is not found.")
	}
	return nil, errNotFound("Key '" + arn + "' does not exist")
}

func (c *call) describeKey() (answer, *apiError) {
	k, err := c.permitted(c.KeyID, "kms:DescribeKey", nil)
	if err != nil {
		return nil, err
	}
	return answer{"KeyMetadata": answer{
		"AWSAccountId": k.opts.Account, "KeyId": k.id, "Arn": k.ARN(),
		"CreationDate": k.created.Unix(), "Enabled": k.state == types.KeyStateEnabled, "KeyState": k.state,
		"KeyUsage": k.opts.Usage, "KeySpec": k.opts.Spec, "Origin": k.opts.Origin, "KeyManager": types.KeyManagerTypeCustomer,
		"MultiRegion": k.opts.MultiRegion, "CurrentKeyMaterialId": k.shared.current().id,
	}}, nil
}

func (c *call) getKeyRotationStatus() (answer, *apiError) {
	k, err := c.rotatable("kms:GetKeyRotationStatus")
	if err != nil {
		return nil, err
	}
	return answer{"KeyId": k.ARN(), "KeyRotationEnabled": k.shared.rotates}, nil
}

func (c *call) enableKeyRotation() (answer, *apiError) {
	k, err := c.rotatable("kms:EnableKeyRotation")
	if err != nil {
		return nil, err
	}
	k.shared.rotates = true
	return answer{}, nil
}

func (c *call) rotateKeyOnDemand() (answer, *apiError) {
	k, err := c.rotatable("kms:RotateKeyOnDemand")
	if err != nil {
		return nil, err
	}
	k.shared.materials = append(k.shared.materials, newMaterial())
	return answer{"KeyId": k.ARN()}, nil
}

func (c *call) rotatable(action string) (*Key, *apiError) {
	k, err := c.permitted(c.KeyID, action, nil)
	if err == nil && (k.opts.Spec != types.KeySpecSymmetricDefault || k.opts.Origin != types.OriginTypeAwsKms) {
		return nil, errUnsupported(k)
	}
	return k, err
}

// event starts the entry of the log that the call makes.
func (c *call) event() Event {
	return Event{
		AWSRegion: c.region, Principal: c.principal.arn,
		EncryptionContext:            maps.Clone(c.EncryptionContext),
		SourceEncryptionContext:      maps.Clone(c.SourceEncryptionContext),
		DestinationEncryptionContext: maps.Clone(c.DestinationEncryptionContext),
	}
}
