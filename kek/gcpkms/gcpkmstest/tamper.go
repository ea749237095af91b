package gcpkmstest

import (
	"bytes"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Tampering changes an answer. It may change resp in place, and returns what is
// to be sent: a message; [Raw] bytes in place of one; or an error.
type Tampering func(method string, req, resp protobuf.Message) (any, error)

// Raw is bytes that are sent as they are, where an encoded message should be.
type Raw []byte

// codec encodes messages as gRPC does, and Raw not at all.
type codec struct{}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(Raw); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return encoding.GetCodecV2(proto.Name).Marshal(v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
}

func (codec) Name() string { return proto.Name }

// Garbage sends bytes that are no message.
func Garbage(string, protobuf.Message, protobuf.Message) (any, error) {
	return Raw("<html>this is no answer</html>"), nil
}

// Truncate sends the first half of the message.
func Truncate(_ string, _, resp protobuf.Message) (any, error) {
	b, err := protobuf.Marshal(resp)
	return Raw(b[:len(b)/2]), err
}

// Empty sends a message without any field.
func Empty(_ string, _, resp protobuf.Message) (any, error) {
	protobuf.Reset(resp)
	return resp, nil
}

// BadChecksum changes the checksum of what is in the answer.
func BadChecksum(_ string, _, resp protobuf.Message) (any, error) {
	switch r := resp.(type) {
	case *kmspb.EncryptResponse:
		r.CiphertextCrc32C = wrapperspb.Int64(r.GetCiphertextCrc32C().GetValue() ^ 1)
	case *kmspb.DecryptResponse:
		r.PlaintextCrc32C = wrapperspb.Int64(r.GetPlaintextCrc32C().GetValue() ^ 1)
	}
	return resp, nil
}

// NoChecksum leaves out the checksum of what is in the answer.
func NoChecksum(_ string, _, resp protobuf.Message) (any, error) {
	switch r := resp.(type) {
	case *kmspb.EncryptResponse:
		r.CiphertextCrc32C = nil
	case *kmspb.DecryptResponse:
		r.PlaintextCrc32C = nil
	}
	return resp, nil
}

// Unverified says that the checksums of what was sent didn't arrive.
func Unverified(_ string, _, resp protobuf.Message) (any, error) {
	if r, ok := resp.(*kmspb.EncryptResponse); ok {
		r.VerifiedPlaintextCrc32C = false
		r.VerifiedAdditionalAuthenticatedDataCrc32C = false
	}
	return resp, nil
}

// FlippedBit changes one bit of the ciphertext or plaintext, and no checksum.
func FlippedBit(_ string, _, resp protobuf.Message) (any, error) {
	switch r := resp.(type) {
	case *kmspb.EncryptResponse:
		r.Ciphertext[len(r.Ciphertext)/2] ^= 1
	case *kmspb.DecryptResponse:
		r.Plaintext[0] ^= 1
	}
	return resp, nil
}

// Named puts another name into answers that have one, as if they were about
// another key.
func Named(name string) Tampering {
	return func(_ string, _, resp protobuf.Message) (any, error) {
		switch r := resp.(type) {
		case *kmspb.EncryptResponse:
			r.Name = name
		case *kmspb.CryptoKey:
			r.Name = name
		}
		return resp, nil
	}
}

// Resized makes the ciphertext or plaintext n bytes long, with a checksum that is
// right for that.
func Resized(n int) Tampering {
	resize := func(b []byte) []byte {
		return append(bytes.Clone(b), make([]byte, n)...)[:n]
	}
	return func(_ string, _, resp protobuf.Message) (any, error) {
		switch r := resp.(type) {
		case *kmspb.EncryptResponse:
			r.Ciphertext = resize(r.GetCiphertext())
			r.CiphertextCrc32C = checksum(r.GetCiphertext())
		case *kmspb.DecryptResponse:
			r.Plaintext = resize(r.GetPlaintext())
			r.PlaintextCrc32C = checksum(r.GetPlaintext())
		}
		return resp, nil
	}
}

// Swapped returns a Tampering that sends, to each call of a method, the answer to
// the call before, and to the first one its own.
func Swapped() Tampering {
	var mu sync.Mutex
	last := map[string]protobuf.Message{}
	return func(method string, _, resp protobuf.Message) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		send := last[method]
		last[method] = protobuf.Clone(resp)
		if send == nil {
			return resp, nil
		}
		return send, nil
	}
}
