package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(mainCode()) }

// mainCode is main, for tests that run it under another name.
func mainCode() int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	ctx, stop := interruptible(context.Background(), os.Stderr)
	defer stop()
	return a.run(ctx, os.Args[1:])
}

// errInterrupted is the cause of a ctx that SIGINT or SIGTERM ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a ctx that the first SIGINT or SIGTERM ends, with
// errInterrupted as its cause. The second one ends the process at once.
func interruptible(parent context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		fmt.Fprintln(stderr, "\nstopping at the next safe place; interrupt once more to end at once")
		cancel(errInterrupted)
		<-signals
		os.Exit(exitIncomplete)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
