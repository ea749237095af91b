package awskms

import (
	"context"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxAnswer is how much of an answer is read, in bytes. KMS's are a few
// kilobytes; the SDK would read one without end into memory.
const maxAnswer = 1 << 20

var errAnswerTooLong = errors.New("the answer is too long")

// limitAnswer is an option of a call that limits its answer.
func limitAnswer(o *kms.Options) {
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
		return s.Deserialize.Add(answerLimiter{}, middleware.After) // next to the transport
	})
}

type answerLimiter struct{}

func (answerLimiter) ID() string { return "EmbedVaultAnswerLimit" }

func (answerLimiter) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp.Body != nil {
		resp.Body = &limitedBody{resp.Body, maxAnswer}
	}
	return out, metadata, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
