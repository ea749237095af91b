package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// newJob returns the name of a job that nobody else has. Each run of a command is a
// job of its own, unless --job says otherwise: a cursor that somebody left behind last
// year must not have this year's run skip what lies before it.
func (a *app) newJob() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return "vaultctl-" + a.now().UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// announce says by which command a run goes on that is killed.
func (a *app) announce(flag, value string, given bool) {
	if !a.flags.quiet && !given {
		a.note("if this is stopped or killed, go on with: %s", a.again(flag, value))
	}
}

// note writes a line for people to stderr. With --json there are none.
func (a *app) note(format string, args ...any) {
	if !a.flags.json {
		fmt.Fprintln(a.errOut, a.clean(fmt.Sprintf(format, args...)))
	}
}

// interrupted adds to the error of a command that was stopped by which command it goes
// on: the same one, with this flag if it has a value.
func (a *app) interrupted(ctx context.Context, err error, flag, value string) error {
	if err == nil || !errors.Is(context.Cause(ctx), errInterrupted) {
		return err
	}
	return fmt.Errorf("%w; go on with: %s", errInterrupted, a.again(flag, value))
}

// again is the command line once more, with this flag, before what ends the flags.
func (a *app) again(flag, value string) string {
	words, after := []string{"vaultctl"}, []string(nil)
	for i := 0; i < len(a.args); i++ {
		arg := a.args[i]
		if arg == "--" {
			after = a.args[i:]
			break
		}
		switch {
		case flag != "" && arg == flag:
			i++ // and its value
		case flag != "" && strings.HasPrefix(arg, flag+"="):
		default:
			words = append(words, quote(arg))
		}
	}
	if value != "" {
		words = append(words, flag, quote(value))
	}
	for _, arg := range after {
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote writes a word as a shell takes it.
func quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
