package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
)

// The exit codes.
const (
	exitOK         = 0
	exitFailed     = 1 // what was asked for was not done, or a check found something
	exitUsage      = 2 // the command line is wrong; nothing was done
	exitIncomplete = 3 // part of it was done: run it again
)

// errUsage is matched by errors of the command line.
var errUsage = errors.New("usage")

type usageError struct{ err error }

func (e usageError) Error() string        { return e.err.Error() }
func (e usageError) Unwrap() error        { return e.err }
func (e usageError) Is(target error) bool { return target == errUsage }

// usage returns an error of the command line.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode says which exit code an error means.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage), errors.Is(err, vault.ErrInvalidOption), errors.Is(err, keyctx.ErrInvalidContext):
		return exitUsage
	case errors.Is(err, errInterrupted), ctx.Err() != nil && errors.Is(err, context.Canceled),
		errors.Is(err, vault.ErrRewrapIncomplete), errors.Is(err, vault.ErrReencryptIncomplete),
		errors.Is(err, vault.ErrKeyInUse), errors.Is(err, errIncomplete):
		return exitIncomplete
	}
	return exitFailed
}

// errIncomplete marks errors of commands that did part of what was asked for.
var errIncomplete = errors.New("incomplete")

// end tells of the error, if there is one, and returns the exit code.
func (a *app) end(ctx context.Context, err error) int {
	code := exitCode(ctx, err)
	if err == nil {
		return code
	}
	text := a.clean(err.Error())
	if a.flags.json {
		line, _ := json.Marshal(struct {
			Error    string `json:"error"`
			ExitCode int    `json:"exit_code"`
		}{text, code})
		fmt.Fprintln(a.errOut, string(line))
		return code
	}
	fmt.Fprintln(a.errOut, "vaultctl:", harmless(text))
	if code == exitUsage {
		fmt.Fprintln(a.errOut, "(vaultctl help COMMAND says how)")
	}
	return code
}
