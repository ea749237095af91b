package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/embedvault/vault/storage"
)

// ErrDenied is matched when etcd refuses what was asked: the user may not, or
// the password is wrong. Nothing was read or written.
var ErrDenied = errors.New("etcd denied access")

// errCompacted is matched when the revision that is being read is gone: the
// call begins anew.
var errCompacted = errors.New("revision compacted")

// classify gives an error of the client's the class it has here. The texts and
// codes are those of go.etcd.io/etcd/api/v3/v3rpc/rpctypes/error.go.
func classify(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, storage.ErrClosed) {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%w: %w: %w", storage.ErrUnavailable, ended, err)
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("%w: %w", errCompacted, err)
	case errors.Is(err, rpctypes.ErrAuthOldRevision): // users or roles are being changed
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: etcd's own limit (--max-request-bytes) is lower than Options.MaxRequestBytes: %w", storage.ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("etcd's limit of operations in a transaction (--max-txn-ops) is lower than %d: %w", maxOps, err)
	case denied(err):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return classifyCode(ctx, err)
}

func denied(err error) bool {
	for _, target := range []error{
		rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound,
		rpctypes.ErrRoleNotFound, rpctypes.ErrRoleNotGranted, rpctypes.ErrPermissionNotGranted,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return code(err) == codes.PermissionDenied
}

// code returns the gRPC code of an error, whether the client has turned it into
// one of its own or not.
func code(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

func classifyCode(ctx context.Context, err error) error {
	switch c := code(err); c {
	case codes.DeadlineExceeded:
		// gRPC's clock may be ahead of the ctx's by a moment.
		if _, ok := ctx.Deadline(); ok {
			return fmt.Errorf("%w: %w: %w", storage.ErrUnavailable, context.DeadlineExceeded, err)
		}
	case codes.Canceled:
		// Not by the caller, whose ctx goes on.
		if strings.Contains(err.Error(), "client connection is closing") || errors.Is(err, context.Canceled) {
			return fmt.Errorf("%w: %w", storage.ErrClosed, err)
		}
	case codes.ResourceExhausted:
		switch text := err.Error(); {
		case strings.Contains(text, "trying to send message") && strings.Contains(text, "larger than max"):
			return fmt.Errorf("%w: the client's MaxCallSendMsgSize is lower: %w", storage.ErrTooLarge, err)
		case strings.Contains(text, "received message") && strings.Contains(text, "larger than max"):
			// By etcd, or in an answer by the client: the text is the same.
			return fmt.Errorf("%w: etcd's limit (--max-request-bytes) or the client's MaxCallRecvMsgSize is lower: %w", storage.ErrTooLarge, err)
		}
	case codes.DataLoss:
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange:
		return err // a mistake of ours, or a server that is too old
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
