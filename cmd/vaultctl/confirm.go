package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

var errNotConfirmed = errors.New("not confirmed: nothing was done")

// confirm asks whether to do what can't be undone: the answer is the word itself, so
// that nobody answers by habit. With --yes it doesn't ask; where nobody can be asked
// it refuses.
func (a *app) confirm(ctx context.Context, what, word string) error {
	if a.flags.yes {
		return nil
	}
	if !a.interactive {
		return usage("%s There is no terminal to ask at: give --yes if you mean it", what)
	}
	fmt.Fprintf(a.errOut, "%s\nType %s to go on: ", what, word)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotConfirmed, context.Cause(ctx))
	case line := <-answer:
		if line != word {
			return errNotConfirmed
		}
		return nil
	}
}

// confirmPairs is confirm with a context as the word.
func (a *app) confirmPairs(ctx context.Context, what string, args []string) error {
	return a.confirm(ctx, what, strings.Join(args, " "))
}
